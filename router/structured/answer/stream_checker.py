"""Checks a constrained answer while it streams: which events may be sent before the verdict? Pure.

Sent events cannot be taken back. So each event is either sent at once, or held until the whole answer is verified:

| mode | content | tool calls | final event |
|---|---|---|---|
| hold: nothing is guaranteed | held | held | held |
| check: decoding enforces the format, or the client asked for it | sent while it may be valid | the same | held |
| talk: the text is free, and calls are optional | sent, unless it may be calls | held | held after a call |

Where a call is required, content at the beginning is held: it may be the call, written as text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from router.errors import StructuredOutputViolation
from router.messages.strict_json import NotJson
from router.structured.answer.assemble import StreamAssembler
from router.structured.answer.free_text import FreeText
from router.structured.answer.json_prefix import JsonPrefix
from router.structured.answer.runaway import RunawayDetector
from router.structured.constraint import Constraint
from router.types import ConstraintKind

Mode = Literal["hold", "check", "talk"]
Broken = Callable[[ConstraintKind, str, Mapping[str, Any], bool], StructuredOutputViolation]
"""makes the error from the checked kind, the fault, the choice so far, and whether it is endless"""


class StreamChecker:
    """Checks the chunks of one stream.

    Attributes:
        sent: the choices as far as they were sent to the client, once events are held.
        has_begun: some content was sent.
        is_holding: events are held.
    """

    def __init__(self, constraint: Constraint, mode: Mode, broken: Broken) -> None:
        self._constraint = constraint
        self._mode: Mode = mode
        self._broken = broken
        self._assembler = StreamAssembler()
        self._texts: dict[tuple[str, str], _Text] = {}
        self._free_texts: dict[str, FreeText] = {}
        """in the mode `talk`: the content of each choice"""
        self.is_holding = self._must_hold = mode == "hold"
        self._has_content = False
        self.has_begun = False
        self.sent: list[dict[str, Any]] = []

    @property
    def is_text_free(self) -> bool:
        """Return whether any text will do."""
        return self._mode == "talk"

    def choices(self) -> list[dict[str, Any]]:
        """Return the choices received so far."""
        return self._assembler.choices()

    def unsettled_choices(self) -> list[dict[str, Any]]:
        """Return the choices without the reasoning that was already sent as their content: only the rest can change."""
        return [
            {**choice, "message": {**choice["message"], "content": choice["message"]["content"][len(settled) :]}}
            if (settled := self._settled(choice["index"]))
            else choice
            for choice in self.choices()
        ]

    def with_settled(self, choices: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return choices with the reasoning that `unsettled_choices` left out."""
        return [
            {**choice, "message": {**choice["message"], "content": settled + (choice["message"]["content"] or "")}}
            if (settled := self._settled(choice["index"]))
            else choice
            for choice in choices
        ]

    def _settled(self, index: int) -> str:
        """Return the reasoning at the beginning of a choice's content, if a part of it was already sent."""
        text = self._free_texts.get(str(index))
        if text is None or not text.reasoning_chars or not _content(self.sent, index):
            return ""
        return _content(self.choices(), index)[: text.reasoning_chars]

    def feed(self, chunk: Mapping[str, Any]) -> bool:
        """Take the next chunk; return whether it may be sent, together with all held events.

        Raises:
            StructuredOutputViolation: the answer can no longer become valid.
            Runaway: it repeats itself without end.
            UpstreamFailed: the chunk is malformed.
        """
        for part in chunk.get("choices") or ():
            self._read(part)
        hold = self._must_hold or self._may_be_calls
        if hold and not self.is_holding:
            self.sent = self._assembler.choices()
        self.is_holding = hold
        self._assembler.add(chunk)
        self._has_content = self._has_content or any(map(_has_content, chunk.get("choices") or ()))
        self.has_begun = self.has_begun or (self._has_content and not hold)
        return not hold

    def _read(self, part: Mapping[str, Any]) -> None:
        index, delta = str(part.get("index", 0)), part.get("delta")
        message: Mapping[str, Any] = delta if isinstance(delta, dict) else {"content": part.get("text")}
        for key, piece in _pieces(message):
            if self._mode == "talk" and key in ("content", "reasoning"):
                if key == "content":
                    self._read_free_text(index, piece)
                continue
            if (text := self._texts.get((index, key))) is None:
                text = self._texts[index, key] = _Text(is_json=self._is_json(key))
            if key == "content" and self._constraint.output_format is None and not self.has_begun:
                self._mode = "hold"  # a call is required, and may be written as text
            is_call = key not in ("content", "reasoning")
            reason = text.runaway.feed(piece)
            fault = (
                f"the output does not end: {reason}"
                if reason
                else self._fault(text, piece, is_attributable=not is_call or self._assembler.has_distinct_calls(part))
            )
            if fault:
                choice = next((choice for choice in self.choices() if str(choice["index"]) == index), {})
                raise self._broken("tools" if is_call else self._constraint.kind, fault, choice, bool(reason))
        if part.get("finish_reason") and (self._mode != "talk" or self._may_be_calls):
            self._must_hold = True

    def _read_free_text(self, index: str, piece: str) -> None:
        calls = self._constraint.calls
        if (text := self._free_texts.get(index)) is None:
            text = self._free_texts[index] = FreeText(calls.tools if calls else {})
        text.add(piece)

    @property
    def _may_be_calls(self) -> bool:
        return self._mode == "talk" and any(text.may_be_calls for text in self._free_texts.values())

    def _is_json(self, key: str) -> bool:
        output_format = self._constraint.output_format
        if key == "reasoning":
            return False
        return key != "content" or (output_format is not None and output_format.kind in ("json_schema", "json_object"))

    def _fault(self, text: _Text, piece: str, *, is_attributable: bool) -> str:
        """Return why the answer can no longer be valid, or "".

        `is_attributable`: the piece surely belongs to this text.
        """
        if self._mode == "check" and not is_attributable:
            self._mode = "hold"  # the calls are sent as a whole, with our own indexes
        if self._mode == "check" and text.prefix is not None:
            try:
                text.prefix.feed(piece)
            except NotJson as error:
                if self.has_begun:
                    return str(error)
                self._mode = "hold"  # nothing was sent: the answer may still be repaired
        self._must_hold = self._must_hold or self._mode != "check"
        return ""


class _Text:
    """One text of a choice: its content, its reasoning, or the arguments of one call."""

    __slots__ = ("prefix", "runaway")

    def __init__(self, *, is_json: bool) -> None:
        self.prefix = JsonPrefix() if is_json else None
        self.runaway = RunawayDetector()


def _content(choices: Iterable[Mapping[str, Any]], index: int) -> str:
    return next((choice["message"]["content"] or "" for choice in choices if choice["index"] == index), "")


def _has_content(part: Mapping[str, Any]) -> bool:
    delta = part.get("delta")
    in_delta = isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role")
    return in_delta or bool(part.get("text"))


def _pieces(message: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    content = message.get("content")
    if len(message) == 1 and content and isinstance(content, str):
        return (("content", content),)  # nearly every delta
    calls, legacy = message.get("tool_calls") or (), message.get("function_call")
    pieces: tuple[tuple[str, str], ...] = (("content", content),) if content and isinstance(content, str) else ()
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if reasoning and isinstance(reasoning, str):
        pieces = ("reasoning", reasoning), *pieces
    return [*pieces, *_call_pieces(calls, legacy)] if calls or legacy else pieces


def _call_pieces(calls: object, legacy: object) -> Iterator[tuple[str, str]]:
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        number = call.get("index") if isinstance(call, dict) else None
        yield f"call {number}", arguments if isinstance(arguments, str) else ""
    if isinstance(legacy, dict):
        yield "function_call", str(legacy.get("arguments") or "")
