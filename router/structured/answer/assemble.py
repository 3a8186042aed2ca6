"""A stream's events folded into the whole choices that they amount to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from router.errors import UpstreamFailed
from router.types import Endpoint

_Place = tuple[int, int]
"""of a call: its number, and how many calls with this number came before"""
_TEXTS = frozenset({"content", "refusal", "reasoning_content", "reasoning"})


def as_read(choice: Mapping[str, Any], endpoint: Endpoint) -> Mapping[str, Any]:
    """Return a choice, or a part of one, as its endpoint's clients read it: some upstreams send the other form, too."""
    unread = endpoint.unread_choice_fields
    if unread.isdisjoint(choice):
        return choice
    return {name: value for name, value in choice.items() if name not in unread}


class Assembly:
    """The choices of one stream, as far as they have come.

    A choice is `{index, message, finish_reason}` for chat and `{index, text, finish_reason}` for completions;
    a finish_reason that never came is None. Events without choices (usage) add nothing.
    """

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take one more chunk.

        Raises:
            UpstreamFailed: it does not have the form of a chunk.
        """
        for part in _list(event.get("choices")):
            index = _integer(part.get("index", 0))
            if (choice := self._choices.get(index)) is None:
                choice = self._choices[index] = _Choice()
            choice.add(part)

    def tells_apart(self, part: Mapping[str, Any]) -> bool:
        """Return whether each call in the next part of a choice comes with a number that no other call has.

        Raises:
            UpstreamFailed: it does not have the form of a part.
        """
        choice = self._choices.get(_integer(part.get("index", 0)), _Choice())
        calls = [*_list(_mapping(part.get("delta") or {}).get("tool_calls"))]
        places = [choice.place(call) for call in calls if call.get("index") is not None]
        return len({*places}) == len(calls) and all(before == 0 for _, before in places)

    def choices(self) -> list[dict[str, Any]]:
        """Return them in the order of their index."""
        return [{"index": index, **self._choices[index].whole()} for index in sorted(self._choices)]


@dataclass(slots=True)
class _Call:
    id: str | None = None
    type: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    no_text: object = None
    """arguments that came as a value instead of its text"""

    def add(self, part: Mapping[str, Any]) -> None:
        self.id = self.id or part.get("id")
        self.type = part.get("type") or self.type
        function = _mapping(part.get("function") or {})
        self.name = self.name or _text(function.get("name"))
        arguments = function.get("arguments")
        if self.no_text and arguments:
            raise _no_chunk("nothing behind arguments that are whole")
        if isinstance(arguments, Mapping) and not self.arguments:
            self.no_text = arguments
        else:
            self.arguments.append(_text(arguments))

    def function(self) -> dict[str, object]:
        return {"name": self.name, "arguments": "".join(self.arguments) or self.no_text or ""}


@dataclass(slots=True)
class _Choice:
    texts: dict[str, list[str]] = field(default_factory=dict)
    calls: dict[_Place, _Call] = field(default_factory=dict)
    function_call: _Call | None = None
    finish_reason: str | None = None
    is_chat: bool = True

    def add(self, part: Mapping[str, Any]) -> None:
        self.finish_reason = part.get("finish_reason") or self.finish_reason
        if "text" in part:
            self.is_chat = False
            self.texts.setdefault("text", []).append(_text(part["text"]))
            return
        delta = _mapping(part.get("delta") or {})
        for key, value in delta.items():
            if value is not None and key in _TEXTS:
                self.texts.setdefault(key, []).append(_text(value))
        for call in _list(delta.get("tool_calls")):
            self.calls.setdefault(self.place(call), _Call()).add(call)
        if legacy := delta.get("function_call"):
            self.function_call = self.function_call or _Call()
            self.function_call.add({"function": legacy})

    def place(self, part: Mapping[str, Any]) -> _Place:
        """Return the call that a fragment belongs to: that of its number.

        Some upstreams leave numbers out, and some number all calls 0: then a new id is a new call.
        """
        is_numbered = part.get("index") is not None
        number = _integer(part["index"]) if is_numbered else max(self.calls, default=(0, 0))[0]
        last = max((place for place in self.calls if place[0] == number), default=None)
        if last is None:
            return number, 0
        is_named = bool(_mapping(part.get("function") or {}).get("name"))
        is_new = part.get("id") and part["id"] != self.calls[last].id and (is_named or not is_numbered)
        return (number, last[1] + 1) if is_new else last

    def whole(self) -> dict[str, Any]:
        texts = {key: "".join(parts) for key, parts in self.texts.items()}
        if not self.is_chat:
            return {"text": texts.get("text", ""), "finish_reason": self.finish_reason}
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None} | texts
        if self.calls:
            message["tool_calls"] = [
                {"id": call.id, "function": call.function()} | ({"type": call.type} if call.type else {})
                for _, call in sorted(self.calls.items())
            ]
        if self.function_call:
            message["function_call"] = self.function_call.function()
        return {"message": message, "finish_reason": self.finish_reason}


def _mapping(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _no_chunk("an object")
    return value


def _list(value: object) -> Iterable[Mapping[str, Any]]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _no_chunk("an array")
    return map(_mapping, value)


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _no_chunk("a string")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise _no_chunk("an integer")
    return value


def _no_chunk(expected: str) -> UpstreamFailed:
    return UpstreamFailed(f"an event of the upstream's stream is no chunk: expected {expected}")
