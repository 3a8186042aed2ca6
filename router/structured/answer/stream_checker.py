"""A constrained answer while it streams: what of it may leave before the verdict, and when it is lost already. Pure.

What has left cannot be taken back. So each event either goes on at once or waits for the verdict on the whole:

| pace | content | tool calls | the event that finishes |
|---|---|---|---|
| hold: nothing is sure | waits | wait | waits |
| check: decoding enforces it, or the client wants it so | goes, while it can still become valid | the same | waits |
| talk: calls may be made, the text is free | goes, unless it looks like a call | wait | waits after a call |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from router.errors import StructuredOutputViolation
from router.messages.strict_json import NotJson
from router.structured.answer.assemble import Assembly
from router.structured.answer.json_prefix import JsonPrefix
from router.structured.answer.reasoning import is_thinking, shortened, without_thought
from router.structured.answer.runaway import Runaway
from router.structured.constraint import Constraint
from router.types import ConstraintKind

Mode = Literal["hold", "check", "talk"]
Broken = Callable[[ConstraintKind, str, Mapping[str, Any]], StructuredOutputViolation]
"""makes the error of what was judged, what is wrong with it, and the choice as far as it has come"""
_OPENERS = ("<tool_call>", "```tool_call", "```json", "```")
_KEYS = ('"name"', '"arguments"', '"parameters"', '"function"', '"type"')
_LONGEST_HEAD = 256
"""characters behind the thoughts; what may be a call after as many is taken for one"""


class StreamChecker:
    """Reads the chunks of one stream.

    `left` are the choices as far as they have gone on to the client; `begun`: some content of theirs has; `waits`:
    something has not.
    """

    def __init__(self, constraint: Constraint, pace: Mode, broken: Broken) -> None:
        self._constraint = constraint
        self._pace: Mode = pace
        self._broken = broken
        self._assembly = Assembly()
        self._texts: dict[tuple[str, str], _Text] = {}
        self.waits = self._final = pace == "hold"
        self._said = False
        self.begun = False
        self.left: list[dict[str, Any]] = []

    def choices(self) -> list[dict[str, Any]]:
        """Return the choices as far as they have come."""
        return self._assembly.choices()

    def may_leave(self, chunk: Mapping[str, Any]) -> bool:
        """Take the next chunk; return whether it may leave, and all that waited with it.

        Raises:
            StructuredOutputViolation: the answer cannot become valid any more, or has no end.
            UpstreamFailed: the chunk is none.
        """
        for part in chunk.get("choices") or ():
            self._read(part)
        waits = self._final or self._unsure
        if waits and not self.waits:
            self.left = self._assembly.choices()
        self.waits = waits
        self._assembly.add(chunk)
        self._said = self._said or any(map(_says, chunk.get("choices") or ()))
        self.begun = self.begun or (self._said and not waits)
        return not waits

    def _read(self, part: Mapping[str, Any]) -> None:
        index, delta = str(part.get("index", 0)), part.get("delta")
        message: Mapping[str, Any] = delta if isinstance(delta, dict) else {"content": part.get("text")}
        for key, piece in _pieces(message):
            if (text := self._texts.get((index, key))) is None:
                text = self._texts[index, key] = _Text(is_json=self._is_json(key))
            if self._pace == "talk" and key == "content":
                text.unsure = text.unsure and may_be_call(text.add(piece))
            elif fault := self._fault(text, piece, is_sure=key == "content" or self._assembly.tells_apart(part)):
                raise self._broken(
                    self._constraint.kind if key == "content" else "tools",
                    fault,
                    next((choice for choice in self.choices() if str(choice["index"]) == index), {}),
                )
        if part.get("finish_reason") and (self._pace != "talk" or self._unsure):
            self._final = True

    @property
    def _unsure(self) -> bool:
        return self._pace == "talk" and any(text.unsure for text in self._texts.values())

    def _is_json(self, key: str) -> bool:
        output_format = self._constraint.output_format
        return key != "content" or (output_format is not None and output_format.kind in ("json_schema", "json_object"))

    def _fault(self, text: _Text, piece: str, *, is_sure: bool) -> str:
        """Return why the answer is lost with this piece; empty: it is not. `is_sure`: the piece is this text's."""
        if reason := text.runaway.feed(piece):
            return f"it went on without an end: {reason}"
        if self._pace == "check" and not is_sure:
            self._pace = "hold"  # the client is told the whole, with numbers of our own
        if self._pace == "check" and text.prefix is not None:
            try:
                text.prefix.feed(piece)
            except NotJson as error:
                if self.begun:
                    return str(error)
                self._pace = "hold"  # nothing has left: it may still be repaired
        self._final = self._final or self._pace != "check"
        return ""


class _Text:
    """One text of a choice: its content, or the arguments of one call."""

    __slots__ = ("_head", "prefix", "runaway", "unsure")

    def __init__(self, *, is_json: bool) -> None:
        self.prefix = JsonPrefix() if is_json else None
        self.runaway = Runaway()
        self.unsure = True  # whether it is a call
        self._head = ""

    def add(self, piece: str) -> str:
        """Return how the text begins, as far as `may_be_call` has to know it."""
        if len(self._head) < _LONGEST_HEAD:
            self._head = shortened(self._head + piece)[:_LONGEST_HEAD]
        return self._head


def _says(part: Mapping[str, Any]) -> bool:
    delta = part.get("delta")
    said = isinstance(delta, dict) and any(value for key, value in delta.items() if key != "role")
    return said or bool(part.get("text"))


def _pieces(message: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    content, calls, legacy = message.get("content"), message.get("tool_calls") or (), message.get("function_call")
    said = (("content", content),) if content and isinstance(content, str) else ()
    return [*said, *_pieces_of_calls(calls, legacy)] if calls or legacy else said


def _pieces_of_calls(calls: object, legacy: object) -> Iterator[tuple[str, str]]:
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else None
        number = call.get("index") if isinstance(call, dict) else None
        yield f"call {number}", arguments if isinstance(arguments, str) else ""
    if isinstance(legacy, dict):
        yield "function_call", str(legacy.get("arguments") or "")


def may_be_call(text: str) -> bool:
    """Return whether a text that begins so may turn out to be a call that the model wrote as its content."""
    if is_thinking(text):
        return True
    rest = without_thought(text)[1].lstrip()
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
