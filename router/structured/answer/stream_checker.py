"""Checks a constrained answer while it streams: which events may be sent before the verdict? Pure.

Sent events cannot be taken back. So each event is either sent at once, or held until the whole answer is verified:

| mode | content | tool calls | final event |
|---|---|---|---|
| hold: nothing is guaranteed | held | held | held |
| check: decoding enforces the format, or the client asked for it | sent while it may be valid | the same | held |
| talk: the text is free, and calls are optional | sent, unless it looks like a call | held | held after a call |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from router.errors import StructuredOutputViolation
from router.messages.strict_json import NotJson
from router.structured.answer.assemble import StreamAssembler
from router.structured.answer.json_prefix import JsonPrefix
from router.structured.answer.reasoning import drop_reasoning, may_be_reasoning, split_reasoning
from router.structured.answer.runaway import RunawayDetector
from router.structured.constraint import Constraint
from router.types import ConstraintKind

Mode = Literal["hold", "check", "talk"]
Broken = Callable[[ConstraintKind, str, Mapping[str, Any]], StructuredOutputViolation]
"""makes the error from the checked kind, the fault, and the choice so far"""
_OPENERS = ("<tool_call>", "```tool_call", "```json", "```")
_KEYS = ('"name"', '"arguments"', '"parameters"', '"function"', '"type"')
_MAX_HEAD_CHARS = 256
"""after the reasoning; a text that may still be a call after so many characters counts as one"""


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
        self.is_holding = self._must_hold = mode == "hold"
        self._has_content = False
        self.has_begun = False
        self.sent: list[dict[str, Any]] = []

    def choices(self) -> list[dict[str, Any]]:
        """Return the choices received so far."""
        return self._assembler.choices()

    def feed(self, chunk: Mapping[str, Any]) -> bool:
        """Take the next chunk; return whether it may be sent, together with all held events.

        Raises:
            StructuredOutputViolation: the answer can no longer become valid, or is endless.
            UpstreamFailed: the chunk is malformed.
        """
        for part in chunk.get("choices") or ():
            self._read(part)
        hold = self._must_hold or self._may_be_call
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
            if (text := self._texts.get((index, key))) is None:
                text = self._texts[index, key] = _Text(is_json=self._is_json(key))
            if self._mode == "talk" and key == "content":
                text.may_be_call = text.may_be_call and may_be_call(text.add(piece))
            elif fault := self._fault(
                text, piece, is_attributable=key == "content" or self._assembler.has_distinct_calls(part)
            ):
                raise self._broken(
                    self._constraint.kind if key == "content" else "tools",
                    fault,
                    next((choice for choice in self.choices() if str(choice["index"]) == index), {}),
                )
        if part.get("finish_reason") and (self._mode != "talk" or self._may_be_call):
            self._must_hold = True

    @property
    def _may_be_call(self) -> bool:
        return self._mode == "talk" and any(text.may_be_call for text in self._texts.values())

    def _is_json(self, key: str) -> bool:
        output_format = self._constraint.output_format
        return key != "content" or (output_format is not None and output_format.kind in ("json_schema", "json_object"))

    def _fault(self, text: _Text, piece: str, *, is_attributable: bool) -> str:
        """Return why the answer can no longer be valid, or "".

        `is_attributable`: the piece surely belongs to this text.
        """
        if reason := text.runaway.feed(piece):
            return f"the output does not end: {reason}"
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
    """One text of a choice: its content, or the arguments of one call."""

    __slots__ = ("_head", "may_be_call", "prefix", "runaway")

    def __init__(self, *, is_json: bool) -> None:
        self.prefix = JsonPrefix() if is_json else None
        self.runaway = RunawayDetector()
        self.may_be_call = True  # a call that the model writes as text
        self._head = ""

    def add(self, piece: str) -> str:
        """Return the beginning of the text, as much of it as `may_be_call` needs."""
        if len(self._head) < _MAX_HEAD_CHARS:
            self._head = drop_reasoning(self._head + piece)[:_MAX_HEAD_CHARS]
        return self._head


def _has_content(part: Mapping[str, Any]) -> bool:
    delta = part.get("delta")
    in_delta = isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role")
    return in_delta or bool(part.get("text"))


def _pieces(message: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    content, calls, legacy = message.get("content"), message.get("tool_calls") or (), message.get("function_call")
    of_content = (("content", content),) if content and isinstance(content, str) else ()
    return [*of_content, *_call_pieces(calls, legacy)] if calls or legacy else of_content


def _call_pieces(calls: object, legacy: object) -> Iterator[tuple[str, str]]:
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        number = call.get("index") if isinstance(call, dict) else None
        yield f"call {number}", arguments if isinstance(arguments, str) else ""
    if isinstance(legacy, dict):
        yield "function_call", str(legacy.get("arguments") or "")


def may_be_call(text: str) -> bool:
    """Return whether a text with this beginning may be a tool call that the model writes as its content."""
    if may_be_reasoning(text):
        return True
    rest = split_reasoning(text)[1].lstrip()
    for opener in _OPENERS:
        if rest.startswith(opener):
            rest = rest[len(opener) :].lstrip()
        elif opener.startswith(rest):
            return True
    if rest.startswith("["):
        rest = rest[1:].lstrip()
    if not rest.startswith("{"):
        return not rest
    key = rest[1:].lstrip()
    return any(key.startswith(word) or word.startswith(key) for word in _KEYS)
