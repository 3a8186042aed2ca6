"""What a client has of a stream that broke off: put together from the events that were sent. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from router.errors import UpstreamFailed
from router.messages.answer import StreamReader
from router.structured.answer.assemble import endpoint_fields
from router.types import Endpoint, Usage

FRAME = ("id", "object", "created", "model", "system_fingerprint")
"""the fields that all chunks of a stream share"""
THOUGHTS = ("reasoning_content", "reasoning")
"""the two names of the field with a model's reasoning"""


@dataclass(slots=True)
class CallSent:
    """A tool call as far as it was sent."""

    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Sent:
    """The beginning of an answer with one choice, as the client has it."""

    chunks: list[Mapping[str, Any]] = field(default_factory=list)
    """the events as they were sent"""
    frame: dict[str, Any] = field(default_factory=dict)
    content: str = ""
    """the text, of either endpoint"""
    blank_tail: str = ""
    """the end of `content` that came in events of whitespace only"""
    blank_tokens: int = 0
    """the number of these events"""
    thoughts: str = ""
    thought_tokens: int = 0
    """events with thoughts"""
    calls: dict[int, CallSent] = field(default_factory=dict)
    """by index"""
    function_call: CallSent | None = None
    has_other: bool = False
    """something was sent that cannot be continued or compared, such as audio"""
    finish_reason: str | None = None
    tokens: int = 0
    """events with content, about one token each"""
    usage: Usage | None = None
    """what the upstream counted so far, if it says so in every event"""

    @classmethod
    def of(cls, events: Sequence[bytes], endpoint: Endpoint) -> Sent:
        """Read the events that were sent."""
        sent, reader = cls(), StreamReader(1)
        texts: list[str] = []
        try:
            for event in events:
                chunk = reader.read(event)
                if parts := chunk.get("choices"):
                    sent.frame = sent.frame or {name: chunk[name] for name in FRAME if name in chunk}
                    chunk = {**chunk, "choices": [endpoint_fields(part, endpoint) for part in parts]}
                    for part in chunk["choices"]:
                        sent._read(part, texts)
                sent.chunks.append(chunk)
        except UpstreamFailed:  # an event that passed as it was, and that nobody can read
            sent.has_other = True
        sent.content = "".join(texts)
        blank = next((at for at, text in enumerate(reversed(texts)) if text.strip()), len(texts))
        sent.blank_tail, sent.blank_tokens = "".join(texts[len(texts) - blank :]), blank
        sent.tokens, sent.usage = reader.events, reader.usage
        try:
            (sent.content + sent.thoughts).encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which no request can contain
            sent.has_other = True
        return sent

    @property
    def has_answer(self) -> bool:
        """Return whether more than thoughts and whitespace was sent."""
        return bool(self.content.strip() or self.calls or self.function_call)

    def _read(self, part: Mapping[str, Any], texts: list[str]) -> None:
        self.finish_reason = part.get("finish_reason") or self.finish_reason
        if part.get("index", 0) != 0:
            self.has_other = True
        delta = part.get("delta")
        fields = dict(delta) if isinstance(delta, dict) else {"content": part.get("text")}
        fields.pop("role", None)
        self._read_text(fields.pop("content", None), texts)
        thoughts = [fields.pop(name, None) for name in THOUGHTS]
        thought = next((text for text in thoughts if isinstance(text, str)), "")
        self.thoughts, self.thought_tokens = self.thoughts + thought, self.thought_tokens + bool(thought)
        for call in fields.pop("tool_calls", None) or ():
            self._read_call(call)
        if legacy := fields.pop("function_call", None):
            self.function_call = self.function_call or CallSent()
            self._add(self.function_call, legacy)
        self.has_other = self.has_other or any(fields.values())

    def _read_text(self, text: object, texts: list[str]) -> None:
        if isinstance(text, str):
            if text:
                texts.append(text)
        elif text is not None:
            self.has_other = True

    def _read_call(self, call: object) -> None:
        index = call.get("index") if isinstance(call, dict) else None
        if isinstance(call, dict) and isinstance(index, int):
            self._add(self.calls.setdefault(index, CallSent()), call.get("function") or {})
        else:
            self.has_other = True

    def _add(self, call: CallSent, function: object) -> None:
        name = function.get("name") if isinstance(function, dict) else None
        arguments = function.get("arguments") if isinstance(function, dict) else 0
        if isinstance(arguments, str | None) and isinstance(name, str | None):
            call.name, call.arguments = call.name or name or "", call.arguments + (arguments or "")
        else:
            self.has_other = True
