"""What a client got: a whole answer, a stream or an error, read without any code of the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.structured.judge import fault_of

PREFIX = "x-smallfirst-"
SUMMARY = ": smallfirst "
"""begins the comment in which a stream tells at its end what its headers could not"""


class NotUnderstood(Exception):
    """What came is neither an answer nor an error of OpenAI's form."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to a request for one choice."""

    status: int
    said: Mapping[str, str] = field(default_factory=dict)
    """the headers `x-smallfirst-...`, without that prefix; of a stream also what only its end could tell"""
    choice: Mapping[str, Any] | None = None
    """message and finish_reason, and logprobs where there are any; of a stream, its chunks put together"""
    error: str = ""
    """the error's code, or its type where it has none"""
    message: str = ""
    """the error's message"""
    usage: Mapping[str, Any] | None = None
    seconds: float | None = None
    """from the request to the end of the answer, where that was measured"""
    first_s: float | None = None
    """and to its first content"""
    id: str = ""
    """the request's, as the gateway's log has it"""

    def outcome(self, asked: Mapping[str, Any]) -> str:
        """Return what became of a request: `valid`, `truncated`, `refused`, `invalid`, or `error STATUS CODE`.

        Status 0: no answer that anybody understands.
        """
        if self.error or self.choice is None:
            return f"error {self.status} {self.error}"
        if fault_of(asked, self.choice):
            return "invalid"
        if self.choice["finish_reason"] == "length":
            return "truncated"
        return "refused" if self.choice["message"].get("refusal") else "valid"


def read(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """Read what came.

    Raises:
        NotUnderstood: it is no answer, no error, or a stream that ended without saying so.
    """
    said = {name.lower().removeprefix(PREFIX): value for name, value in headers.items() if _ours(name)}
    if headers.get("content-type", "").startswith("text/event-stream"):
        return _stream(status, said, body)
    try:
        content = json.loads(body)
        if status != 200 or "error" in content:
            return _failed(status, said, content["error"])
        first = content["choices"][0]
        choice = _choice(first["message"], first["finish_reason"])
        told = {"logprobs": first["logprobs"]} if first.get("logprobs") else {}
        return Reply(status, said, choice | told, usage=content.get("usage"))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise NotUnderstood(f"status {status}: {body[:200]!r}: {error!r}") from None


def broken(part: str, ways: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield what the outcomes of a gateway's answers say of its promise: what was asked for, or a clear error."""
    for way, entry in ways.items():
        if count := entry["outcomes"].get("invalid"):
            yield f"{part}: {way}: {count} invalid answers came with status 200"
        if count := sum(count for word, count in entry["outcomes"].items() if word.startswith("error 0 ")):
            yield f"{part}: {way}: {count} requests got no answer that could be understood"


def _ours(name: str) -> bool:
    return name.lower().startswith(PREFIX)


def _failed(status: int, said: Mapping[str, str], error: Mapping[str, Any]) -> Reply:
    return Reply(
        status, said, error=str(error.get("code") or error.get("type")), message=str(error.get("message") or "")
    )


def _choice(message: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
    return {"message": message, "finish_reason": finish}


def _stream(status: int, said: Mapping[str, str], body: bytes) -> Reply:
    lines = body.decode().replace("\r\n", "\n").split("\n")
    said = {**said, **_told_at_the_end(lines)}
    events = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    done = events[-1:] == ["[DONE]"]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    if failed := next((chunk["error"] for chunk in chunks if "error" in chunk), None):
        return _failed(status, said, failed)
    if not done:
        raise NotUnderstood(f"a stream without error and without [DONE]: {body[-200:]!r}")
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    return Reply(status, said, _fold([part for chunk in chunks for part in chunk.get("choices", ())]), usage=usage)


def _told_at_the_end(lines: Iterable[str]) -> dict[str, str]:
    summary = next((line.removeprefix(SUMMARY) for line in lines if line.startswith(SUMMARY)), "{}")
    return {name.replace("_", "-"): str(value) for name, value in json.loads(summary).items() if value is not None}


def _fold(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put the chunks of one choice together as OpenAI's clients do: texts are joined, calls go by their index."""
    texts: dict[str, str] = {}
    calls: dict[int, dict[str, Any]] = {}
    finish = None
    for part in parts:
        finish = part.get("finish_reason") or finish
        for name, value in part["delta"].items():
            if name != "tool_calls":
                texts[name] = texts.get(name, "") + (value or "")
        for piece in part["delta"].get("tool_calls") or ():
            call = calls.setdefault(piece["index"], {"function": {"name": "", "arguments": ""}})
            call |= {name: piece[name] for name in ("id", "type") if piece.get(name)}
            for name in call["function"]:
                call["function"][name] += (piece.get("function") or {}).get(name) or ""
    return _choice(texts | ({"tool_calls": [calls[index] for index in sorted(calls)]} if calls else {}), finish)
