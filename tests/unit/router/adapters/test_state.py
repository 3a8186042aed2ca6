"""What to load, when to switch, what to unload: decided without an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.adapters.folder import Adapter
from router.adapters.state import (
    ALLOWED_RANKS,
    AdapterState,
    EngineState,
    launch_args,
    may_switch,
    to_load,
    to_unload,
)
from router.adapters.version import Version
from router.replicas.adapter_replica import AdapterSlot

ONE, TWO, THREE = (Version(Path("/store", f"{number:012x}"), Adapter(8, ""), -1) for number in (1, 2, 3))


def adapter(newest: Version | None = TWO, serving: Version | None = ONE, **more: Any) -> AdapterState:
    return AdapterState("orders", Path("/orders"), newest=newest, serving=serving, **more)


def engine(*loaded: Version, runs: bool = True) -> EngineState:
    made = EngineState({"orders": AdapterSlot()})
    if runs:
        made.start(Path("/socket"))
    made.loaded["orders"] = {version.id: version for version in loaded}
    return made


def test_an_engine_gets_what_serves_and_what_shall_serve() -> None:
    assert to_load(adapter(), engine()) == [ONE, TWO]
    assert to_load(adapter(), engine(ONE)) == [TWO]
    assert to_load(adapter(), engine(ONE, TWO)) == []
    assert to_load(adapter(ONE, ONE), engine()) == [ONE]
    assert to_load(adapter(TWO, None), engine()) == [TWO]
    assert to_load(adapter(None, None), engine()) == []


def test_what_was_refused_is_not_loaded_again() -> None:
    assert to_load(adapter(refused=True), engine()) == [ONE]
    one = engine()
    one.refused.add(("orders", ONE.id))
    assert to_load(adapter(), one) == [TWO]
    one.start(Path("/socket"))
    assert to_load(adapter(), one) == [ONE, TWO], "a new engine may have room for it"


def test_requests_switch_when_every_engine_that_runs_has_the_version() -> None:
    assert may_switch(adapter(), [engine(ONE, TWO), engine(ONE, TWO)])
    assert not may_switch(adapter(), [engine(ONE, TWO), engine(ONE)])
    assert may_switch(adapter(), [engine(ONE, TWO), engine(runs=False)])
    assert not may_switch(adapter(), [engine(runs=False)])
    assert not may_switch(adapter(), [])
    assert not may_switch(adapter(ONE, ONE), [engine(ONE)])
    assert not may_switch(adapter(refused=True), [engine(ONE, TWO)])
    silent = engine(ONE)
    silent.answers = False
    assert may_switch(adapter(), [engine(TWO), silent])
    assert not silent.serves(adapter(TWO, TWO)), "it gets no requests until it has loaded the version"


def test_what_nobody_wants_is_unloaded_when_its_requests_have_ended() -> None:
    one, state = engine(ONE, TWO, THREE), adapter(TWO, TWO)
    one.switch("orders", TWO, 100.0)
    assert to_unload(state, one, 100.0, 10.0) == [ONE, THREE]
    one.slots["orders"].count(0, 1)
    assert to_unload(state, one, 109.9, 10.0) == [], "that request may have begun before"
    assert to_unload(state, one, 110.0, 10.0) == [ONE, THREE], "that one cannot"
    one.slots["orders"].count(0, -1)
    assert to_unload(adapter(THREE, TWO), one, 100.0, 10.0) == [ONE]
    assert to_unload(adapter(THREE, TWO, refused=True), one, 100.0, 10.0) == [ONE, THREE]


@given(st.lists(st.integers(1, 512), max_size=9), st.none() | st.integers(1, 20))
def test_the_engine_has_room_for_every_adapter(ranks: list[int], active: int | None) -> None:
    adapters = [
        AdapterState(f"a{i}", None, newest=Version(Path(f"/{i:012x}"), Adapter(rank, ""), -1))
        for i, rank in enumerate(ranks)
    ]
    args = launch_args(adapters, {} if active is None else {"max_loras": active})
    assert args["max_lora_rank"] in ALLOWED_RANKS
    assert args["max_lora_rank"] >= max(ranks, default=0)
    assert args["max_cpu_loras"] >= max(args["max_loras"], len(ranks) + 1), "and for one more version"
    assert args["max_loras"] == (active or min(len(ranks) + 1, 8))
    assert args["enable_lora"] is True


def test_what_the_user_sets_wins() -> None:
    args = launch_args([adapter()], {"max_lora_rank": 64, "dtype": "float32"})
    assert (args["max_lora_rank"], args["dtype"]) == (64, "float32")


def test_the_smallest_rank_that_fits_is_chosen() -> None:
    wide = Version(Path("/0"), Adapter(17, ""), -1)
    assert launch_args([adapter()], {})["max_lora_rank"] == 8
    assert launch_args([adapter(serving=wide)], {})["max_lora_rank"] == 32
    assert launch_args([adapter(None, None)], {})["max_lora_rank"] == 16


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (adapter(ONE, ONE), ""),
        (adapter(), ""),
        (adapter(None, None), "adapter orders is not loaded yet"),
        (
            adapter(refused=True),
            "vLLM refused version 000000000002 of adapter orders; version 000000000001 goes on serving; "
            "the gateway's log says why",
        ),
        (
            adapter(None, None, fault="/secret/path: no such folder"),
            "the files of adapter orders are not usable; the gateway's log says why",
        ),
    ],
)
def test_the_detail_is_for_clients(state: AdapterState, says: str) -> None:
    assert state.detail == says
