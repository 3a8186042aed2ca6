"""An answer in OpenAI's JSON, whole or as the events of a stream. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .calls import Call, CallReader, RequiredCalls
from .events import Finished, Token, TokenLogprob


@dataclass
class _Choice:
    """What is known of one choice."""

    reader: CallReader | None
    text: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    tokens: int = 0


class Answer:
    """The choices of one answer, from the events of its generation. Each event is also an event of the stream."""

    def __init__(self, model: str, created: int, prompt_tokens: int, calls: RequiredCalls | None = None) -> None:
        self._head = {"id": f"chatcmpl-{uuid4().hex}", "created": created, "model": model}
        self._prompt_tokens = prompt_tokens
        self._required = calls
        self._choices: dict[int, _Choice] = {}

    def token(self, event: Token) -> bytes:
        """Add a token; return its event. It may be without content: that shows that the model still works."""
        delta = self._delta(event.choice)
        choice = self._choices[event.choice]
        delta |= self._add(choice, event.text)
        logprobs = None
        if event.logprob is not None:
            logprobs = {"content": [_logprob(event.logprob, event.alternatives)]}
            choice.logprobs += logprobs["content"]
        return self._chunk(event.choice, delta, None, logprobs)

    def finish(self, event: Finished) -> bytes:
        """End a choice; return its event."""
        delta = self._delta(event.choice)
        choice = self._choices[event.choice]
        delta |= self._add(choice, event.text)
        if choice.reader and (cut := choice.reader.rest()):
            delta["tool_calls"] = [*delta.get("tool_calls", ()), self._call(choice, cut)]
        choice.reason, choice.tokens = event.reason, event.tokens
        if choice.calls and event.reason == "stop":
            choice.reason = "tool_calls"
        return self._chunk(event.choice, delta, choice.reason, None)

    def usage(self) -> dict[str, int]:
        """Return the numbers of tokens."""
        written = sum(choice.tokens for choice in self._choices.values())
        return {
            "prompt_tokens": self._prompt_tokens,
            "completion_tokens": written,
            "total_tokens": self._prompt_tokens + written,
        }

    def usage_event(self) -> bytes:
        """Return the event that ends a stream with the usage."""
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [], "usage": self.usage()})

    def whole(self) -> bytes:
        """Return the whole answer."""
        choices = [self._whole_choice(index, choice) for index, choice in sorted(self._choices.items())]
        return _json({**self._head, "object": "chat.completion", "choices": choices, "usage": self.usage()})

    def _whole_choice(self, index: int, choice: _Choice) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None if choice.calls else choice.text}
        if choice.calls:
            message["tool_calls"] = [{k: v for k, v in call.items() if k != "index"} for call in choice.calls]
        logprobs = {"content": choice.logprobs} if choice.logprobs else None
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.reason}

    def _delta(self, index: int) -> dict[str, Any]:
        if index in self._choices:
            return {}
        self._choices[index] = _Choice(CallReader(self._required) if self._required else None)
        return {"role": "assistant"}

    def _add(self, choice: _Choice, text: str) -> dict[str, Any]:
        """Add text to a choice; return what of it the delta has."""
        if choice.reader is None:
            choice.text += text
            return {"content": text} if text else {}
        calls = [self._call(choice, call) for call in choice.reader.feed(text)]
        return {"tool_calls": calls} if calls else {}

    def _call(self, choice: _Choice, call: Call) -> dict[str, Any]:
        function = {"name": call.name, "arguments": call.arguments}
        written = {"index": len(choice.calls), "id": f"call_{uuid4().hex}", "type": "function", "function": function}
        choice.calls.append(written)
        return written

    def _chunk(self, index: int, delta: Mapping[str, Any], reason: str | None, logprobs: Any) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return _event({**self._head, "object": "chat.completion.chunk", "choices": [choice]})


DONE = b"data: [DONE]\n\n"


def error_event(body: Mapping[str, Any]) -> bytes:
    """Return the event that says that a stream failed."""
    return _event(body)


def _event(body: Mapping[str, Any]) -> bytes:
    return b"".join([b"data: ", _json(body), b"\n\n"])


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _logprob(chosen: TokenLogprob, alternatives: Sequence[TokenLogprob]) -> dict[str, Any]:
    entries: Iterator[dict[str, Any]] = (
        {"token": one.text, "logprob": one.logprob, "bytes": list(one.text.encode())} for one in (chosen, *alternatives)
    )
    return {**next(entries), "top_logprobs": list(entries)}
