"""Assembles the events of a stream into whole choices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.errors import UpstreamFailed
from router.messages.openai_form import REASONING
from router.types import Endpoint

_CallKey = tuple[int, int]
"""a call's index, and how many earlier calls have the same index"""
_TEXTS = frozenset({"content", "refusal", REASONING})
_READ_OF_DELTA = _TEXTS | {"role", "tool_calls", "function_call"}
_READ_OF_CALL = frozenset({"index", "id", "type", "function"})
_READ_OF_FUNCTION = frozenset({"name", "arguments"})
_READ_OF_CHOICE = frozenset({"index", "delta", "text", "finish_reason", "logprobs"})


def endpoint_fields(choice: Mapping[str, Any], endpoint: Endpoint) -> Mapping[str, Any]:
    """Return a choice, or a delta of one, without the fields of the other endpoint, which some upstreams send too."""
    foreign = endpoint.unread_choice_fields
    if foreign.isdisjoint(choice):
        return choice
    return {name: value for name, value in choice.items() if name not in foreign}


class StreamAssembler:
    """Assembles the choices of one stream.

    A choice is `{index, message, finish_reason}` for chat and `{index, text, finish_reason}` for completions;
    a missing finish_reason is None. Events without choices (usage) add nothing. Fields of choices, messages, calls and
    functions that are unknown here are kept, such as `annotations` and `extra_content`.
    """

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Add one chunk.

        Raises:
            UpstreamFailed: the chunk is malformed.
        """
        for part in _list(event.get("choices")):
            index = _integer(part.get("index", 0))
            if (choice := self._choices.get(index)) is None:
                choice = self._choices[index] = _Choice()
            choice.add(part)

    def has_distinct_calls(self, part: Mapping[str, Any]) -> bool:
        """Return whether each call in the next delta of a choice has an index that no other call has.

        Raises:
            UpstreamFailed: the delta is malformed.
        """
        choice = self._choices.get(_integer(part.get("index", 0)), _Choice())
        calls = [*_list(_mapping(part.get("delta") or {}).get("tool_calls"))]
        keys = [choice.call_key(call) for call in calls if call.get("index") is not None]
        return len({*keys}) == len(calls) and all(earlier == 0 for _, earlier in keys)

    def choices(self) -> list[dict[str, Any]]:
        """Return the choices received so far, ordered by index."""
        return [{"index": index, **self._choices[index].whole()} for index in sorted(self._choices)]


@dataclass(slots=True)
class _Call:
    id: str | None = None
    type: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    value: object = None
    """arguments that were sent as a JSON value instead of its text"""
    more: dict[str, Any] = field(default_factory=dict)
    more_of_function: dict[str, Any] = field(default_factory=dict)

    def add(self, part: Mapping[str, Any]) -> None:
        if not part.keys() <= _READ_OF_CALL:
            _keep_unknown(part, _READ_OF_CALL, self.more)
        self.id = self.id or part.get("id")
        self.type = part.get("type") or self.type
        function = _mapping(part.get("function") or {})
        if not function.keys() <= _READ_OF_FUNCTION:
            _keep_unknown(function, _READ_OF_FUNCTION, self.more_of_function)
        self.name = self.name or _text(function.get("name"))
        arguments = function.get("arguments")
        if self.value and arguments:
            raise _malformed("no more arguments after complete ones")
        if isinstance(arguments, Mapping) and not self.arguments:
            self.value = arguments
        else:
            self.arguments.append(_text(arguments))

    def function(self) -> dict[str, object]:
        return {"name": self.name, "arguments": "".join(self.arguments) or self.value or "", **self.more_of_function}


@dataclass(slots=True)
class _Choice:
    texts: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[_CallKey, _Call] = field(default_factory=dict)
    function_call: _Call | None = None
    finish_reason: str | None = None
    is_chat: bool = True
    more: dict[str, Any] = field(default_factory=dict)
    more_of_message: dict[str, Any] = field(default_factory=dict)

    def add(self, part: Mapping[str, Any]) -> None:
        if not part.keys() <= _READ_OF_CHOICE:
            _keep_unknown(part, _READ_OF_CHOICE, self.more)
        self.finish_reason = part.get("finish_reason") or self.finish_reason
        if "text" in part:
            self.is_chat = False
            self.texts.setdefault("text", []).append(_text(part["text"]))
            return
        delta = _mapping(part.get("delta") or {})
        if not delta.keys() <= _READ_OF_DELTA:
            _keep_unknown(delta, _READ_OF_DELTA, self.more_of_message)
        for key, value in delta.items():
            if value is not None and key in _TEXTS:
                self.texts.setdefault(key, []).append(_text(value))
        for call in _list(delta.get("tool_calls")):
            self.calls.setdefault(self.call_key(call), _Call()).add(call)
        if legacy := delta.get("function_call"):
            self.function_call = self.function_call or _Call()
            self.function_call.add({"function": legacy})

    def call_key(self, part: Mapping[str, Any]) -> _CallKey:
        """Return the key of the call that a fragment belongs to: the call with the fragment's index.

        Some upstreams omit the index, and some use index 0 for all calls. Then a new id starts a new call.
        """
        has_index = part.get("index") is not None
        index = _integer(part["index"]) if has_index else max(self.calls, default=(0, 0))[0]
        last = max((key for key in self.calls if key[0] == index), default=None)
        if last is None:
            return index, 0
        has_name = bool(_mapping(part.get("function") or {}).get("name"))
        is_new = part.get("id") and part["id"] != self.calls[last].id and (has_name or not has_index)
        return (index, last[1] + 1) if is_new else last

    def whole(self) -> dict[str, Any]:
        texts = {key: "".join(parts) for key, parts in self.texts.items()}
        if not self.is_chat:
            return {"text": texts.get("text", ""), "finish_reason": self.finish_reason, **self.more}
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None} | texts | self.more_of_message
        if self.calls:
            message["tool_calls"] = [
                {"id": call.id, "function": call.function()} | ({"type": call.type} if call.type else {}) | call.more
                for _, call in sorted(self.calls.items())
            ]
        if self.function_call:
            message["function_call"] = self.function_call.function()
        return {"message": message, "finish_reason": self.finish_reason, **self.more}


def _keep_unknown(part: Mapping[str, Any], read: frozenset[str], kept: dict[str, Any]) -> None:
    """Keep the fields that are not read here: lists grow, and of other values the last one counts."""
    for name in part.keys() - read:
        if (value := part[name]) is None:
            continue
        if isinstance(value, list) and isinstance(kept.get(name), list):
            kept[name] = kept[name] + value
        else:
            kept[name] = value


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _malformed("an object")
    return value


def _list(value: object) -> Iterable[Mapping[str, Any]]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _malformed("an array")
    return map(_mapping, value)


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _malformed("a string")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise _malformed("an integer")
    return value


def _malformed(expected: str) -> UpstreamFailed:
    return UpstreamFailed(f"an event of the upstream's stream is malformed: expected {expected}")
