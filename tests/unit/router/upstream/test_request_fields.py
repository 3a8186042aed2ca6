"""Changes to a request's fields that several dialects make."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.structured.constraint import CallConstraint, Schema, Tool
from router.upstream.request_fields import call_schema, drop, limit_tools, rename, use_system_role
from tests.support.fakes import call
from tests.support.servers import NAMED, TIME, TOOLS, WEATHER


def schema(value: dict[str, Any]) -> Schema:
    return Schema(json.dumps(value, separators=(",", ":")), value)


def test_messages_of_developer_become_messages_of_system() -> None:
    one = call(messages=[{"role": "developer", "content": "a", "name": "n"}, {"role": "user", "content": "developer"}])
    fields: dict[str, Any] = {}
    use_system_role(one, fields)
    assert fields["messages"] == [{"role": "system", "content": "a", "name": "n"}, one.body["messages"][1]]


@pytest.mark.parametrize("one", [call(), call(endpoint="completions", prompt="x")])
def test_other_messages_stay_as_they_were_written(one: Any) -> None:
    fields: dict[str, Any] = {}
    use_system_role(one, fields)
    assert fields == {}


@pytest.mark.parametrize(
    ("choice", "tools", "word"),
    [
        (NAMED, [TIME], "required"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}, [TIME], "auto"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}, [TIME], "required"),
    ],
)
def test_a_tool_choice_becomes_a_word(choice: Any, tools: Any, word: str) -> None:
    fields: dict[str, Any] = {}
    limit_tools(call(tools=[WEATHER, TIME], tool_choice=choice), fields)
    assert fields == {"tools": tools, "tool_choice": word}


@pytest.mark.parametrize("choice", ["auto", "required", "none"])
def test_a_word_stays(choice: str) -> None:
    fields: dict[str, Any] = {}
    limit_tools(call(tools=TOOLS, tool_choice=choice), fields)
    assert fields == {}


def test_renaming_keeps_what_has_the_new_name() -> None:
    fields = {"a": 1, "b": 2, "c": 3}
    rename(fields, {"a": "x", "b": "c", "d": "e"})
    assert fields == {"x": 1, "c": 3}


def test_dropping_names_what_was_there() -> None:
    fields = {"b": 1, "a": 2, "c": 3}
    assert drop(fields, ("a", "b", "z")) == ("a=dropped", "b=dropped")
    assert fields == {"c": 3}


def test_the_schema_of_a_call() -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "string"}}}
    tools = {"f": Tool("f", schema(parameters)), "g": Tool("g")}
    of_f = {"type": "object", "properties": {"name": {"const": "f"}, "arguments": parameters}}
    of_g = {"type": "object", "properties": {"name": {"const": "g"}, "arguments": {"type": "object"}}}
    both = [one | {"required": ["name", "arguments"]} for one in (of_f, of_g)]
    assert call_schema(CallConstraint(tools, required=True)) == {"anyOf": both}
    assert call_schema(CallConstraint({"f": tools["f"]}, required=True)) == both[0]


def test_a_schema_with_references_cannot_be_a_part() -> None:
    tools = {"f": Tool("f", schema({"$defs": {"a": {}}, "properties": {"a": {"$ref": "#/$defs/a"}}}))}
    assert call_schema(CallConstraint(tools, required=True)) is None
