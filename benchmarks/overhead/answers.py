"""The scripted upstream's answers, made once, in exactly the form of vLLM's. The model's name selects one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

WORDS = ("Paris", "is", "the", "capital", "of", "France", "and", "has", "two", "million", "people")
PERSON = {
    "name": "Ada Lovelace",
    "age": 36,
    "city": "London",
    "email": "ada@example.org",
    "languages": ["English", "French", "Italian"],
    "address": {"street": "12 St James's Square", "postcode": "SW1Y 4JH"},
    "note": "wrote the first program for a machine that was never built",
}
PERSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0},
        "city": {"type": "string"},
        "email": {"type": "string", "format": "email"},
        "languages": {"type": "array", "items": {"type": "string"}},
        "address": {
            "type": "object",
            "properties": {"street": {"type": "string"}, "postcode": {"type": "string"}},
            "required": ["street", "postcode"],
            "additionalProperties": False,
        },
        "note": {"type": "string"},
    },
    "required": ["name", "age", "city", "email", "languages", "address", "note"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Script:
    """One answer: its text in the pieces in which it is sent."""

    name: str
    pieces: tuple[str, ...]
    stream: bool = False
    paced: bool = False
    """whether there is a pause between the events"""

    @property
    def text(self) -> str:
        """Return the text of the answer."""
        return "".join(self.pieces)

    def whole(self) -> bytes:
        """Return the body of an answer that is not a stream."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text, "refusal": None, "annotations": None}
        message |= {"audio": None, "function_call": None, "tool_calls": [], "reasoning": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop", "stop_reason": None}
        answer = self._head("chat.completion") | {"choices": [choice | {"token_ids": None}]}
        answer |= {"service_tier": None, "system_fingerprint": None}
        answer |= {"usage": self._usage() | {"prompt_tokens_details": None}}
        answer |= {"prompt_logprobs": None, "prompt_token_ids": None, "kv_transfer_params": None}
        return _dump(answer)

    def events(self) -> list[bytes]:
        """Return the payloads of a stream: the role, one for each piece, the usage, the end."""
        opening = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        chunks: list[dict[str, Any]] = [{"choices": [opening], "prompt_token_ids": None}]
        for number, piece in enumerate(self.pieces, 1):
            last = number == len(self.pieces)
            choice = {"index": 0, "delta": {"content": piece}, "logprobs": None}
            choice |= {"finish_reason": "stop" if last else None} | ({"stop_reason": None} if last else {})
            chunks.append({"choices": [choice | {"token_ids": None}]})
        chunks.append({"choices": [], "usage": self._usage()})
        return [*(_dump(self._head("chat.completion.chunk") | chunk) for chunk in chunks), b"[DONE]"]

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": f"chatcmpl-{'8f3b5a7c' * 4}", "object": kind, "created": 1_763_900_000, "model": self.name}

    def _usage(self) -> dict[str, Any]:
        count = len(self.pieces)
        return {"prompt_tokens": 40, "total_tokens": 40 + count, "completion_tokens": count}


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _words(count: int) -> tuple[str, ...]:
    return tuple(f" {WORDS[number % len(WORDS)]}" for number in range(count))


def _split(text: str, count: int) -> tuple[str, ...]:
    """Cut a text into pieces of nearly equal length."""
    ends = [round(number * len(text) / count) for number in range(count + 1)]
    return tuple(text[start:end] for start, end in pairwise(ends))


_PERSON = json.dumps(PERSON)
SCRIPTS = {
    script.name: script
    for script in (
        Script("whole", _words(32)),
        Script("json", _split(_PERSON, 64)),
        Script("stream1", _words(1), stream=True),
        Script("stream64", _words(64), stream=True),
        Script("stream2000", _words(2000), stream=True),
        Script("paced64", _words(64), stream=True, paced=True),
        Script("json64", _split(_PERSON, 64), stream=True),
    )
}
