"""What a client got, whole or streamed, in one form, checked for what holds of every answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.events import Transcript
from tests.support.lanes import Answer, Streamed, error_of

FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter", "function_call"}


@dataclass
class FunctionCall:
    """One call of a function."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def read(self) -> Any:
        """Return the arguments; a call whose arguments are no JSON must never get here."""
        return json.loads(self.arguments)


@dataclass(frozen=True)
class Outcome:
    """An answer, or the beginning of one, and the error if there was one."""

    status: int
    headers: httpx.Headers
    text: str = ""
    calls: list[FunctionCall] = field(default_factory=list)
    finish: list[str] = field(default_factory=list)
    """of each choice"""
    error: Mapping[str, Any] | None = None
    usage: Mapping[str, Any] | None = None
    transcript: Transcript | None = None

    @property
    def model(self) -> str:
        """The model that answered, by our name."""
        return self.headers["x-smallfirst-model"]


def read(reply: Answer) -> Outcome:
    """Read an answer. Raises AssertionError where it breaks what holds of every answer, right or wrong."""
    assert len(reply.headers.get_list("x-request-id")) == 1
    if reply.status != 200:
        return Outcome(reply.status, reply.headers, error=error_of(reply.response))
    if isinstance(reply, Streamed):
        return _streamed(reply)
    assert set(reply.json) >= {"choices", "object", "model"}, reply.json
    choices = reply.json["choices"]
    message = choices[0]["message"]
    calls = [
        FunctionCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or ()
    ]
    finish = [choice["finish_reason"] for choice in choices]
    assert set(finish) <= FINISH_REASONS, finish
    text = message["content"] or ""
    return Outcome(200, reply.headers, text, calls, finish, usage=reply.json.get("usage"))


def _streamed(reply: Streamed) -> Outcome:
    transcript = reply.transcript
    finish = transcript.finish_reasons
    assert set(finish) <= FINISH_REASONS, finish
    assert transcript.done is (transcript.error is None), "[DONE] or an error, and never both or neither"
    if transcript.done:
        assert finish, "[DONE] without a finish_reason"
    else:
        assert transcript.order[-1] == "event", "nothing follows the error"
        assert "error" in transcript.events[-1], "nothing follows the error"
    told = [event for event in transcript.events if "choices" in event]
    for name in ("id", "created", "model"):
        assert len({event.get(name) for event in told}) <= 1, f"{name} changes"
    usages = transcript.usages
    return Outcome(
        200,
        reply.headers,
        transcript.text,
        _calls(transcript),
        finish,
        transcript.error,
        usages[-1] if usages else None,
        transcript,
    )


def _calls(transcript: Transcript) -> list[FunctionCall]:
    found: dict[int, FunctionCall] = {}
    for event in transcript.events:
        for choice in event.get("choices", ()):
            for part in (choice.get("delta") or {}).get("tool_calls") or ():
                index = part["index"]
                assert isinstance(index, int)
                if index not in found:
                    assert index == len(found), "indexes count from 0"
                    found[index] = FunctionCall(part["id"], part["function"]["name"])
                else:
                    assert not part.get("id"), "the id comes once"
                    assert not (part.get("function") or {}).get("name"), "the name comes once"
                found[index].arguments += (part.get("function") or {}).get("arguments") or ""
    return list(found.values())
