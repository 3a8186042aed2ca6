"""What a client received: a whole answer, a stream or an error, parsed without any code of the gateway."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.structured.judge import fault_of

PREFIX = "x-smallfirst-"
SUMMARY = ": smallfirst "
"""starts the comment at a stream's end with the metadata that was unknown when its headers were sent"""


class NotUnderstood(Exception):
    """The response is neither an answer nor an error in OpenAI's form."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer to a request for one choice."""

    status: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    """the headers `x-smallfirst-...` without this prefix, and the summary at the end of a stream"""
    choice: Mapping[str, Any] | None = None
    """message and finish_reason, and logprobs if there are any; the chunks of a stream are merged"""
    error: str = ""
    """the error's code, or its type if it has none"""
    message: str = ""
    """the error's message"""
    usage: Mapping[str, Any] | None = None
    seconds: float | None = None
    """from the request to the end of the answer, if it was measured"""
    first_s: float | None = None
    """from the request to the first content, if it was measured"""
    id: str = ""
    """the id of the request in the gateway's log"""

    def outcome(self, asked: Mapping[str, Any]) -> str:
        """Return the outcome of a request: `valid`, `truncated`, `refused`, `invalid`, or `error STATUS CODE`.

        Status 0: there was no answer, or it could not be understood.
        """
        if self.error or self.choice is None:
            return f"error {self.status} {self.error}"
        if fault_of(asked, self.choice):
            return "invalid"
        if self.choice["finish_reason"] == "length":
            return "truncated"
        return "refused" if self.choice["message"].get("refusal") else "valid"


def read(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    """Parse a response.

    Raises:
        NotUnderstood: it is no answer and no error, or a stream without an end.
    """
    metadata = {name.lower().removeprefix(PREFIX): value for name, value in headers.items() if _ours(name)}
    if headers.get("content-type", "").startswith("text/event-stream"):
        return _stream(status, metadata, body)
    try:
        content = json.loads(body)
        if status != 200 or "error" in content:
            return _failed(status, metadata, content["error"])
        first = content["choices"][0]
        choice = _choice(first["message"], first["finish_reason"])
        logprobs = {"logprobs": first["logprobs"]} if first.get("logprobs") else {}
        return Reply(status, metadata, choice | logprobs, usage=content.get("usage"))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise NotUnderstood(f"status {status}: {body[:200]!r}: {error!r}") from None


def broken_promises_of(part: str, variants: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield each broken promise of a gateway: every answer is what was asked for, or a clear error."""
    for variant, entry in variants.items():
        if count := entry["outcomes"].get("invalid"):
            yield f"{part}: {variant}: {count} invalid answers came with status 200"
        if count := sum(count for word, count in entry["outcomes"].items() if word.startswith("error 0 ")):
            yield f"{part}: {variant}: {count} requests got no answer that could be understood"


def _ours(name: str) -> bool:
    return name.lower().startswith(PREFIX)


def _failed(status: int, metadata: Mapping[str, str], error: Mapping[str, Any]) -> Reply:
    return Reply(
        status, metadata, error=str(error.get("code") or error.get("type")), message=str(error.get("message") or "")
    )


def _choice(message: Mapping[str, Any], finish: str | None) -> dict[str, Any]:
    return {"message": message, "finish_reason": finish}


def _stream(status: int, metadata: Mapping[str, str], body: bytes) -> Reply:
    lines = body.decode().replace("\r\n", "\n").split("\n")
    metadata = {**metadata, **_summary(lines)}
    events = [line.removeprefix("data:").strip() for line in lines if line.startswith("data:")]
    done = events[-1:] == ["[DONE]"]
    chunks = [json.loads(event) for event in events if event != "[DONE]"]
    if failed := next((chunk["error"] for chunk in chunks if "error" in chunk), None):
        return _failed(status, metadata, failed)
    if not done:
        raise NotUnderstood(f"a stream without error and without [DONE]: {body[-200:]!r}")
    usage = next((chunk["usage"] for chunk in reversed(chunks) if chunk.get("usage")), None)
    return Reply(status, metadata, _fold([part for chunk in chunks for part in chunk.get("choices", ())]), usage=usage)


def _summary(lines: Iterable[str]) -> dict[str, str]:
    summary = next((line.removeprefix(SUMMARY) for line in lines if line.startswith(SUMMARY)), "{}")
    return {name.replace("_", "-"): str(value) for name, value in json.loads(summary).items() if value is not None}


def _fold(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge the chunks of one choice as OpenAI's clients do: texts are joined, calls are merged by their index."""
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
