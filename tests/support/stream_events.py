"""Events of a stream as an upstream sends them."""

from __future__ import annotations

import json
from typing import Any

DONE = b"data: [DONE]\n\n"


def sse(step: Any) -> bytes:
    """Return the bytes of one event; bytes pass as they are."""
    if isinstance(step, bytes):
        return step
    return b"data: " + json.dumps(step, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def chunk(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "upstream-model"}
    return base | {"choices": choices} | more


def first() -> dict[str, Any]:
    return chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])


def delta(text: str = "", *, index: int = 0, **fields: Any) -> dict[str, Any]:
    content = {"content": text} if text or not fields else {}
    return chunk([{"index": index, "delta": content | fields, "finish_reason": None}])


def finished(reason: str | None = "stop", *, index: int = 0) -> dict[str, Any]:
    return chunk([{"index": index, "delta": {}, "finish_reason": reason}])


def text_chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    return chunk([{"index": 0, "text": text, "finish_reason": finish}], object="text_completion")


def usage_event(usage: dict[str, Any]) -> dict[str, Any]:
    return chunk([], usage=usage)


def usage_of(prompt: int, completion: int, cached: int | None = None) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    return usage if cached is None else usage | {"prompt_tokens_details": {"cached_tokens": cached}}


def split(data: bytes, size: int = 1) -> list[bytes]:
    """Cut bytes into pieces, each of which becomes one chunk: inside an event, a line, a UTF-8 sequence."""
    return [data[i : i + size] for i in range(0, len(data), size)]
