"""Logprobs of text completions that have the form of chat completions, brought into their own form."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw, Struct

_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError, KeyError)


class _Token(Struct):
    token: str
    logprob: float
    top_logprobs: tuple[_Token, ...] = ()


class _Logprobs(Struct):
    content: tuple[_Token, ...]


_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_OBJECTS = msgspec.json.Decoder(list[dict[str, Raw]])
_LOGPROBS = msgspec.json.Decoder(_Logprobs)


class CompletionLogprobs:
    """Rewrites one answer: its body, or each of its events. It counts the characters of each choice's tokens."""

    def __init__(self) -> None:
        self._offsets: dict[bytes, int] = {}

    def __call__(self, answer: bytes) -> bytes:
        """Return the answer with its logprobs in the form of completions, or unchanged if it has none."""
        if b'"content":' not in answer:
            return answer
        try:
            whole = _OBJECT.decode(answer)
            choices = [self._rewritten(choice) for choice in _OBJECTS.decode(whole["choices"])]
        except _UNREADABLE:
            return answer
        return msgspec.json.encode({**whole, "choices": choices})

    def _rewritten(self, choice: dict[str, Raw]) -> dict[str, Any]:
        if bytes(choice.get("logprobs", b"null")) == b"null":
            return choice
        tokens = _LOGPROBS.decode(choice["logprobs"]).content
        index = bytes(choice.get("index", b"0"))
        offsets = []
        for token in tokens:
            offsets.append(self._offsets.get(index, 0))
            self._offsets[index] = offsets[-1] + len(token.token)
        logprobs = {
            "tokens": [token.token for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{one.token: one.logprob for one in token.top_logprobs} for token in tokens],
            "text_offset": offsets,
        }
        return {**choice, "logprobs": logprobs}
