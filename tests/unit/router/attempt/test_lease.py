"""A request for a model that is not loaded: through the whole dispatch, over fakes."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from router.config.model_options import Timeouts
from router.errors import NotLoaded, OutsideHours, UpstreamTimedOut
from router.replicas import load_state
from router.replicas.load_state import LoadState
from router.replicas.pool import Pool, Replica
from router.replicas.uptime import Uptime
from tests.support.fakes import answers, call, large, model, streams
from tests.support.inprocess import Dispatching


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_state, "POLL_S", 0.001)


class Engine:
    """A replica that is up when its model is loaded."""

    def __init__(self, state: LoadState) -> None:
        self.state = state
        self.detail, self.restarts = "vLLM starting", 0
        self.may_answer = False
        self.uptime = self.paid = Uptime()

    @property
    def up(self) -> bool:
        return self.state.is_loaded


class Down(Engine):
    """A replica that does not answer its health check."""

    @property
    def up(self) -> bool:
        return False


def on_demand(load_s: float = 60.0, *, models: int = 2, stream: bool = False) -> tuple[Dispatching, LoadState]:
    """Return a route whose small model is not loaded, and that model's state."""
    small = model(timeouts=Timeouts(load_s=load_s))
    one = Dispatching([small, large()][:models], script={"slm-0": [streams() if stream else answers("Small.")] * 2})
    state = LoadState()
    state.write("unloaded", may_wait=True, opens_at=None)
    one.pools["slm"] = Pool(small, [Replica("slm/0", small.base_url[0], Engine(state))], state)
    return one, state


async def until_waiting(state: LoadState, count: int = 1) -> None:
    async with asyncio.timeout(10):
        while state.report().waiting != count:  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_requests_wait_until_the_model_is_loaded_and_go_together() -> None:
    one, state = on_demand(models=1)
    asked = [asyncio.create_task(one.ask()) for _ in range(2)]
    await until_waiting(state, 2)
    assert one.upstream.exchanges == []
    state.write("loaded", may_wait=True, opens_at=None)
    await asyncio.gather(*asked)
    assert [wait.model for wait in one.record.waits] == ["slm"]
    assert one.record.waits[0].seconds > 0
    assert one.headers["model"] == "slm"
    assert state.report().waiting == 0
    one.all_is_released()


async def test_a_loaded_model_costs_no_wait() -> None:
    one, state = on_demand()
    state.write("loaded", may_wait=True, opens_at=None)
    await one.ask()
    assert one.record.waits == []


async def test_a_stream_is_held_while_it_waits_and_not_longer() -> None:
    one, state = on_demand(models=1, stream=True)
    asked = asyncio.create_task(one.ask(call(stream=True)))
    await until_waiting(state)
    assert one.record.held
    state.write("loaded", may_wait=True, opens_at=None)
    await asked
    assert not one.record.held


async def test_who_waited_too_long_goes_to_the_next_rung() -> None:
    one, _ = on_demand(load_s=0.02)
    await one.ask()
    assert one.steps == [("slm", "llm", "unavailable")]
    assert [wait.model for wait in one.record.waits] == ["slm"]


async def test_without_another_rung_it_fails_and_says_when_to_retry() -> None:
    one, _ = on_demand(load_s=0.02, models=1)
    error = await one.fails(NotLoaded)
    assert (error.status, error.code, error.retry_after_s) == (503, "model_not_loaded", 5.0)
    assert error.message == "The model 'slm' was not loaded in time: vLLM starting."


async def test_a_load_that_fails_ends_the_wait() -> None:
    one, state = on_demand()
    asked = asyncio.create_task(one.ask())
    await until_waiting(state)
    state.write("unloaded", may_wait=False, opens_at=None)
    await asked
    assert one.steps == [("slm", "llm", "unavailable")]


async def test_a_model_whose_hours_are_over_is_not_waited_for() -> None:
    one, state = on_demand()
    state.write("unloaded", may_wait=True, opens_at=monotonic() + 100.0)
    await one.ask()
    assert one.steps == [("slm", "llm", "hours")]
    assert one.record.waits == []
    alone, state = on_demand(models=1)
    state.write("unloaded", may_wait=True, opens_at=monotonic() + 100.0)
    error = await alone.fails(OutsideHours)
    assert error.retry_after_s == pytest.approx(100.0, abs=5.0)


async def test_a_client_that_leaves_is_forgotten_at_once() -> None:
    one, state = on_demand()
    asked = asyncio.create_task(one.ask())
    await until_waiting(state)
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    assert (state.report().waiting, state.waiting_since) == (0, None)
    one.all_is_released()


async def test_the_clients_deadline_ends_the_wait() -> None:
    one, state = on_demand()
    error = await one.fails(UpstreamTimedOut, routing={"deadline_ms": 20})
    assert error.code == "deadline_exceeded"
    assert state.report().waiting == 0


async def test_a_loaded_model_that_is_down_is_not_waited_for() -> None:
    one, state = on_demand()
    state.write("loaded", may_wait=True, opens_at=None)
    [replica] = one.pools["slm"].replicas
    replica.liveness = Down(state)
    await one.ask()
    assert one.steps == [("slm", "llm", "unavailable")]
    assert one.record.waits == []
