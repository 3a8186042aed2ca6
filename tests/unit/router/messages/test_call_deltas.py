"""Fragments of calls, put together as client libraries do it: by index, each text appended."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from router.messages.answer import StreamReader
from router.messages.call_deltas import CallDeltas


def part(arguments: str = "", **fields: Any) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": fields.pop("name")} if "name" in fields else {})
    return {**fields, "function": function}


def appended(fragments: list[list[dict[str, Any]]]) -> list[tuple[str, str, str, str]]:
    """As openai-python's `accumulate_delta`."""
    deltas, calls = CallDeltas(), dict[int, list[str]]()
    for together in fragments:
        deltas.clean(together)
        for one in together:
            call = calls.setdefault(one["index"], ["", "", "", ""])
            function = one.get("function") or {}
            for at, text in enumerate(
                (one.get("id"), one.get("type"), function.get("name"), function.get("arguments"))
            ):
                call[at] += text or ""
    assert list(calls) == list(range(len(calls)))
    return [(a, b, c, d) for a, b, c, d in calls.values()]


TWO = [("a", "function", "f", "{}"), ("b", "function", "g", '{"x":1}')]
HEAD = {"type": "function"}


@pytest.mark.parametrize(
    "fragments",
    [
        [[part("{", index=0, id="a", name="f", **HEAD)], [part("}", index=0)],
         [part('{"x"', index=1, id="b", name="g", **HEAD)], [part(":1}", index=1)]],
        [[part("{", index=1, id="a", name="f", **HEAD)], [part("}", index=1)],
         [part('{"x":1}', index=2, id="b", name="g", **HEAD)]],
        [[part("{}", id="a", name="f")], [part('{"x":1}', id="b", name="g")]],
        [[part("{", id="a", name="f"), part("}")], [part('{"x":1}', id="b", name="g")]],
        [[part("{}", index=0, id="a", name="f"), part('{"x":1}', index=0, id="b", name="g")]],
        [[part("{", index=0, id="a", name="f", **HEAD)], [part("}", index=0, id="a", name="f", **HEAD)],
         [part("", index=1, id="b", name="g")], [part('{"x":1}', index=1, id="b", name="")]],
        [[part("{}", index="0", id="a", name="f")], [part('{"x":1}', index="1", id="b", name="g")]],
    ],
    ids=["as it should be", "from 1", "no index", "no index, in parts", "always 0", "repeated", "texts"],
)  # fmt: skip
def test_two_calls(fragments: list[list[dict[str, Any]]]) -> None:
    assert appended(fragments) == TWO


def test_a_call_without_an_id_gets_one() -> None:
    [(identity, kind, name, arguments)] = appended([[part("{", index=0, name="f")], [part("}", index=0)]])
    assert identity.startswith("call_")
    assert (kind, name, arguments) == ("function", "f", "{}")


def test_what_is_in_form_is_not_touched() -> None:
    first = [part("", index=0, id="a", name="f", extra_content={"x": 1}, **HEAD)]
    second = [part("{}", index=0)]
    before = deepcopy([first, second])
    deltas = CallDeltas()
    assert not deltas.clean(first)
    assert not deltas.clean(second)
    assert [first, second] == before


@pytest.mark.parametrize("junk", ["text", 7, [7], [{"function": "f"}], [None]])
def test_junk_is_left_to_whoever_checks_it(junk: Any) -> None:
    before = deepcopy(junk)
    assert not CallDeltas().clean(junk)
    assert junk == before


def test_each_choice_counts_its_own_calls() -> None:
    reader = StreamReader(2)
    for index in (0, 1):
        chunk = {"choices": [{"index": index, "delta": {"tool_calls": [part("{}", index=3, id="a", name="f")]}}]}
        read = reader.read(json.dumps(chunk).encode())
        assert reader.changed
        assert read["choices"][0]["delta"]["tool_calls"][0]["index"] == 0
