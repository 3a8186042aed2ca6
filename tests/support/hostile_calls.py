"""What an upstream may say where a function call was asked for: right, meant rightly, and wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.written_calls import WRITERS

Message = dict[str, Any]
Kind = Callable[[dict[str, Any], int], Message]
"""makes the message of right arguments and of a number that decides what is left open"""
Kinds = Mapping[str, Kind]


def _tool(name: str, parameters: dict[str, Any] | None) -> dict[str, Any]:
    function = {"name": name, "description": "."} | ({"parameters": parameters} if parameters else {})
    return {"type": "function", "function": function}


TOOLS = [
    _tool(
        "weather",
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 14}},
            "required": ["city"],
            "additionalProperties": False,
        },
    ),
    _tool("ping", None),
]
NAMED = {"type": "function", "function": {"name": "weather"}}


def _call(arguments: object, *, name: str = "weather", **fields: Any) -> dict[str, Any]:
    written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": written}} | fields


def _calls(*calls: dict[str, Any], content: str | None = None) -> Message:
    return {"content": content, "tool_calls": list(calls)}


def _one(arguments: object, **more: Any) -> Message:
    """Call `weather` with just that, whatever it is."""
    return _calls({"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": arguments} | more})


def _less(call: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in call.items() if key != name}


def _bare(arguments: object, *, name: str = "weather", key: str = "arguments") -> str:
    return json.dumps({"name": name, key: arguments}, ensure_ascii=False)


def _written(number: int, *calls: tuple[str, dict[str, Any]]) -> str:
    return WRITERS[number % len(WRITERS)].write(calls)


RIGHT: Kinds = {
    "plain": lambda given, _: _calls(_call(given)),
    "spaced": lambda given, _: _calls(_call(json.dumps(given, indent=4))),
    "escaped": lambda given, _: _calls(_call(json.dumps(given, ensure_ascii=True))),
    "words beside it": lambda given, _: _calls(_call(given), content="Let me look at the {weather}."),
}
MEANT: Kinds = {
    "arguments as an object": lambda given, _: _one(given),
    "fenced arguments": lambda given, _: _calls(_call(f"```json\n{json.dumps(given)}\n```")),
    "a trailing comma": lambda given, _: _calls(_call(json.dumps(given)[:-1] + ",}")),
    "no id": lambda given, _: _calls(_less(_call(given), "id")),
    "no type": lambda given, _: _calls(_less(_call(given), "type")),
    "bare": lambda given, _: {"content": _bare(given)},
    "bare, with parameters": lambda given, _: {"content": _bare(given, key="parameters")},
    "bare, in a list": lambda given, _: {"content": f"[{_bare(given)}]"},
    "bare and fenced": lambda given, _: {"content": f"```json\n{_bare(given)}\n```"},
    "in tags": lambda given, _: {"content": f"<tool_call>\n{_bare(given)}\n</tool_call>"},
    "in tags, after a thought": lambda given, _: {
        "content": f"<think>\nWhich city?\n</think>\n<tool_call>{_bare(given)}</tool_call>"
    },
    "in the format of a family": lambda given, number: {"content": _written(number, ("weather", given))},
}
WRONG: Kinds = {
    "an unknown function": lambda given, _: _calls(_call(given, name="wether")),
    "no name": lambda given, _: _calls({"id": "a", "type": "function", "function": {"arguments": json.dumps(given)}}),
    "another type": lambda given, _: _calls(_call(given, type="retrieval")),
    "a wrong type": lambda given, _: _calls(_call(given | {"city": 1})),
    "a missing argument": lambda given, _: _calls(_call(_less(given, "city"))),
    "an extra argument": lambda given, _: _calls(_call(given | {"unit": "C"})),
    "out of range": lambda given, _: _calls(_call(given | {"days": 15})),
    "truncated": lambda given, number: _calls(_call((text := json.dumps(given))[: 1 + number % (len(text) - 1)])),
    "an argument twice": lambda given, _: _calls(_call(json.dumps(given)[:-1] + ', "city": "Rome"}')),
    "NaN": lambda given, _: _calls(_call(json.dumps(given | {"days": float("nan")}))),
    "a raw control character": lambda _given, _: _calls(_call('{"city": "New\nYork"}')),
    "an array": lambda given, _: _calls(_call([given])),
    "text": lambda _given, _: _calls(_call("Paris, please")),
    "a string that holds JSON": lambda given, _: _calls(_call(json.dumps(json.dumps(given)))),
    "null arguments": lambda _given, _: _one(None),
    "no arguments": lambda _given, _: _one(""),
    "arguments as a wrong object": lambda given, _: _one(given | {"days": "two"}),
    "a right and a wrong one": lambda given, _: _calls(_call(given), _call({}, id="call_2")),
    "bare and wrong": lambda given, _: {"content": _bare(given | {"days": "two"})},
    "in tags and wrong": lambda _given, _: {"content": f"<tool_call>{_bare({})}</tool_call>"},
}
NO_CALL: Kinds = {
    "prose": lambda given, _: {"content": f"The weather in {given['city']} is fine {{today}}."},
    "a bare call of an unknown function": lambda given, _: {"content": _bare(given, name="wether")},
}
"""right where a call may be made, wrong where one must be"""
NOTHING: Kinds = {
    "nothing": lambda _given, _: {"content": None},
    "an empty text": lambda _given, _: {"content": ""},
    "an empty list of calls": lambda _given, _: {"content": None, "tool_calls": []},
}
"""wrong where a call must be made"""
TWO: Kinds = {
    "two calls": lambda given, _: _calls(_call(given), _call({}, name="ping", id="call_2")),
}
"""right where calls may be several, wrong where one is allowed"""
TWO_MEANT: Kinds = {
    "the same id twice": lambda given, _: _calls(_call(given), _call({}, name="ping")),
    "null for no arguments": lambda given, _: _calls(
        _call(given), {"id": "b", "type": "function", "function": {"name": "ping", "arguments": None}}
    ),
    "an empty text for no arguments": lambda given, _: _calls(_call(given), _call("", name="ping", id="b")),
    "two in tags": lambda given, _: {
        "content": f"<tool_call>{_bare(given)}</tool_call>\n<tool_call>{_bare({}, name='ping')}</tool_call>"
    },
    "two in the format of a family": lambda given, number: {
        "content": _written(number, ("weather", given), ("ping", {}))
    },
}
