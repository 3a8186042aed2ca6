"""Brings a request into the form that every upstream reads alike, before it is validated.

Absent, null and empty mean the same, but upstreams differ in which of them they refuse. So a field that asks for
nothing is removed. A tool call in the history without arguments gets `{}`: models write such calls, and one of them
would make every later turn of the conversation fail.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from router.messages.adapted import name_changes

_EMPTY: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(
        ("allowed_token_ids", "bad_words", "documents", "functions", "modalities", "stop_token_ids", "tools"), (list,)
    ),
    **dict.fromkeys(("chat_template_kwargs", "logit_bias", "metadata", "stream_options"), (dict,)),
    **dict.fromkeys(
        (
            "ebnf", "format", "function_call", "grammar", "reasoning_effort", "regex", "service_tier", "suffix",
            "tool_choice", "user",
        ),
        (str,),
    ),
    "stop": (list, str),
}  # fmt: skip
"""the types of fields that ask for nothing if empty; `web_search_options: {}`, for one, asks for a search"""
_EMPTY_IN_MESSAGE: Mapping[str, tuple[type, ...]] = {"annotations": (list,), "name": (str,), "tool_calls": (list,)}
_CHOICE_BY_FUNCTIONS: Mapping[str, str] = {"tools": "tool_choice", "functions": "function_call"}
_PLAIN_MESSAGES = frozenset({("role", "content"), ("content", "role")})
_CALLS = frozenset({"function_call", "tool_calls"})
_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])


class Changes(NamedTuple):
    """What `normalise` changed in a body."""

    removed: list[str]
    """fields that asked for nothing"""
    messages: dict[int, Any]
    """the messages that are no longer as the client wrote them, by their index"""
    names: list[str]

    @property
    def adapted(self) -> tuple[str, ...]:
        """Return what changed in substance, for the header `x-smallfirst-adapted`."""
        return name_changes(self.names) if self.names else ()

    def apply(self, fields: dict[str, Any]) -> None:
        """Make the same changes in the fields as bytes. Every other byte stays as the client wrote it."""
        for name in self.removed:
            fields.pop(name, None)
        if self.messages:
            written: list[Any] = _MESSAGES.decode(fields["messages"])
            for i, message in self.messages.items():
                written[i] = json.dumps(message, ensure_ascii=False).encode()
            fields["messages"] = msgspec.Raw(b"[" + b",".join(map(bytes, written)) + b"]")


def normalise(body: dict[str, Any], required: str) -> Changes | None:
    """Change a body in place; None: it needs no change. `required` is a field that is not removed even if empty."""
    changes = None
    values = body.values()
    # most bodies have nothing of the kind; these look-ups take less time than a loop
    may_be_empty = None in values or "" in values or [] in values or {} in values or body.get("stream") is False
    if may_be_empty and (removed := _remove_empty_fields(body, required)):
        changes = Changes(removed, {}, [])
    messages = body.get("messages")
    if isinstance(messages, list) and not _are_plain(messages):
        odd = [
            i
            for i, message in enumerate(messages)
            if type(message) is dict and (len(message) != 2 or "content" not in message)
        ]
        for i in odd:
            message = messages[i]
            removed = [] if all(message.values()) else _remove_empty_fields_of_message(message)
            calls = _normalise_calls(message) if not _CALLS.isdisjoint(message) else []
            if removed or calls:
                changes = changes or Changes([], {}, [])
                changes.messages[i] = message
                changes.names.extend([f"messages.{i}.{call}" for call in calls])
    return changes


def _are_plain(messages: list[Any]) -> bool:
    """Return whether every message is a role and its content, which need no look."""
    try:
        return _PLAIN_MESSAGES.issuperset(map(tuple, messages))
    except TypeError:  # something else than an object: validation names it
        return False


def _remove_empty_fields(body: dict[str, Any], required: str) -> list[str]:
    removed = [
        name
        for name, value in body.items()
        if not value and (value is None or type(value) in _EMPTY.get(name, ())) and name not in ("model", required)
    ]
    removed += [
        choice
        for functions, choice in _CHOICE_BY_FUNCTIONS.items()
        if functions in removed and body.get(choice) in ("auto", "none")
    ]
    if "tools" in removed and "functions" not in body and body.get("parallel_tool_calls") is not None:
        removed.append("parallel_tool_calls")  # some upstreams refuse it without tools
    if body.get("stream") is False and body.get("stream_options"):
        removed.append("stream_options")  # SDKs send both, and mean a whole answer
    for name in removed:
        del body[name]
    return removed


def _remove_empty_fields_of_message(message: dict[str, Any]) -> list[str]:
    removed = [
        name
        for name, value in message.items()
        if not value
        and (value is None or type(value) in _EMPTY_IN_MESSAGE.get(name, ()))
        and name not in ("role", "content")
    ]
    for name in removed:
        del message[name]
    if "tool_calls" in removed and message.get("content", "") is None:
        message["content"] = ""  # many chat templates would write "None"
    return removed


def _normalise_calls(message: dict[str, Any]) -> list[str]:
    """Give each call a type, and arguments as text. Return what changed, such as `tool_calls.0.arguments={}`."""
    changed = []
    calls = message.get("tool_calls")
    for j, call in enumerate(calls if isinstance(calls, list) else ()):
        if isinstance(call, dict):
            if call.get("type") is None and "function" in call:
                call["type"] = "function"
                changed.append(f"tool_calls.{j}.type=function")
            if change := _normalise_arguments(call.get("function")):
                changed.append(f"tool_calls.{j}.arguments={change}")
    if change := _normalise_arguments(message.get("function_call")):
        changed.append(f"function_call.arguments={change}")
    return changed


def _normalise_arguments(function: object) -> str:
    if not isinstance(function, dict):
        return ""
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        if arguments and not arguments.isspace():
            return ""
    elif isinstance(arguments, dict):
        function["arguments"] = json.dumps(arguments, ensure_ascii=False)
        return "text"
    elif arguments is not None:
        return ""  # validation names it
    function["arguments"] = "{}"
    return "{}"
