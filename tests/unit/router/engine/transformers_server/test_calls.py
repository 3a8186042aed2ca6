"""Required calls: their schema, and how they are read from a growing text."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.engine.transformers_server.calls import CallReader, RequiredCalls, shown_tools
from router.engine.transformers_server.errors import RequestError


def tool(name: str, **parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters or None}}


WEATHER = tool("weather", type="object", properties={"city": {"type": "string"}}, required=["city"])
STOP = tool("stop")
NAMED = {"type": "function", "function": {"name": "weather"}}


def required(choice: Any = "required", tools: Any = (WEATHER, STOP), **fields: Any) -> RequiredCalls:
    read = RequiredCalls.of({"tools": list(tools), "tool_choice": choice} | fields)
    assert read is not None
    return read


@pytest.mark.parametrize(
    "choice",
    [None, "none", "auto", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [WEATHER]}}],
)
def test_no_call_is_required(choice: Any) -> None:
    assert RequiredCalls.of({"tools": [WEATHER], "tool_choice": choice}) is None


def test_which_functions_may_be_called() -> None:
    assert list(required().parameters) == ["weather", "stop"]
    assert required(NAMED).named == "weather"
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [STOP]}}
    assert list(required(allowed).parameters) == ["stop"]
    assert required(allowed).named is None


@pytest.mark.parametrize(
    "choice",
    [
        "odd",
        7,
        {},
        {"type": "function"},
        {"type": "function", "function": {"name": "none_such"}},
        {"type": "allowed_tools"},
        {"type": "allowed_tools", "allowed_tools": {"tools": []}},
        {"type": "allowed_tools", "allowed_tools": {"tools": ["x"]}},
    ],
)
def test_a_choice_that_names_nothing_is_refused(choice: Any) -> None:
    with pytest.raises(RequestError):
        required(choice)


def test_the_schema_takes_calls_of_the_functions_only() -> None:
    is_valid = jsonschema_rs.validator_for(required().schema()).is_valid
    call = {"name": "weather", "arguments": {"city": "Rome"}}
    assert is_valid([call])
    assert is_valid([call, {"name": "stop", "arguments": {}}])
    assert not is_valid([])
    assert not is_valid([call | {"more": 1}])
    assert not is_valid([{"name": "weather", "arguments": {}}])
    assert not is_valid([{"name": "other", "arguments": {}}])
    assert not jsonschema_rs.validator_for(required(parallel_tool_calls=False).schema()).is_valid([call, call])


def test_the_schema_of_a_named_function_is_that_of_its_arguments() -> None:
    is_valid = jsonschema_rs.validator_for(required(NAMED).schema()).is_valid
    assert is_valid({"city": "Rome"})
    assert not is_valid({})


def test_definitions_of_functions_are_shared() -> None:
    place = {"$defs": {"place": {"type": "string"}}, "type": "object", "properties": {"at": {"$ref": "#/$defs/place"}}}
    is_valid = jsonschema_rs.validator_for(required(tools=[tool("f", **place), STOP]).schema()).is_valid
    assert is_valid([{"name": "f", "arguments": {"at": "Rome"}}])
    assert not is_valid([{"name": "f", "arguments": {"at": 1}}])
    other = tool("g", **(place | {"$defs": {"place": {"type": "integer"}}}))
    with pytest.raises(RequestError) as caught:
        required(tools=[tool("f", **place), other]).schema()
    assert caught.value.code == "unsupported_schema"


@pytest.mark.parametrize("parameters", [True, ["x"], "x"])
def test_parameters_that_are_no_schema_are_refused(parameters: Any) -> None:
    with pytest.raises(RequestError):
        required(tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}])


def test_no_tools_are_shown_where_none_may_be_called() -> None:
    assert shown_tools({"tools": [STOP], "tool_choice": "none"}) is None
    assert shown_tools({"tools": [STOP]}) == [STOP]
    assert shown_tools({}) is None


ARGUMENTS = st.dictionaries(
    st.text(max_size=4), st.text(max_size=4) | st.integers() | st.lists(st.dictionaries(st.text(max_size=2), st.none()))
)
CALLS = st.lists(st.tuples(st.sampled_from(["weather", "stop"]), ARGUMENTS), min_size=1, max_size=3)


@given(CALLS, st.sampled_from([None, 1]), st.lists(st.integers(0, 400)))
def test_calls_are_read_from_pieces_of_any_size(
    calls: list[tuple[str, Any]], indent: int | None, cuts: list[int]
) -> None:
    text = json.dumps([{"name": name, "arguments": arguments} for name, arguments in calls], indent=indent)
    edges = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    reader = CallReader(required())
    read = [call for start, end in pairwise(edges) for call in reader.feed(text[start:end])]
    assert [(call.name, json.loads(call.arguments)) for call in read] == calls
    assert reader.rest() is None


def test_a_call_is_known_when_its_arguments_are_complete() -> None:
    reader = CallReader(required())
    assert reader.feed('[{"name": "weather", "arguments": {"city": "}"') == []
    [call] = reader.feed("}")
    assert call == ("weather", '{"city": "}"}')
    assert reader.feed('}, {"name": "stop", "arguments": {"a"') == []
    assert reader.rest() == ("stop", '{"a"')


def test_the_text_of_a_named_function_is_its_arguments() -> None:
    reader = CallReader(required(NAMED))
    assert reader.feed(' {"city": ') == []
    assert reader.rest() == ("weather", '{"city": ')
    assert reader.feed('"Rome"}') == [("weather", '{"city": "Rome"}')]
    assert reader.rest() is None
