"""Request the logprobs of an answer's tokens, read them, and remove them if the client did not ask for them. Pure.

Confidence needs each token's own logprob. The alternatives (`top_logprobs`) are read if the client asked for them. They
are never requested for confidence: two of them double the length of the answer and the time to read it, and the score
does not use them.

With logprobs, vLLM also streams events without content, for the tokens around a tool call. They are kept, as events
with an empty `delta`.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from router.judge.features import Alternative, TokenLogprob
from router.types import ChatCall

_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


class _Logprobs(Struct):
    content: tuple[TokenLogprob, ...] | None = None
    """the field of chat completions"""
    tokens: tuple[str, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[dict[str, float] | None, ...] | None = None
    """this and the two fields above belong to completions"""

    def read(self) -> tuple[TokenLogprob, ...]:
        if self.content is not None:
            return self.content
        alternatives = self.top_logprobs or (None,) * len(self.tokens)
        return tuple(
            TokenLogprob(token, logprob, top_logprobs=tuple(Alternative(*other) for other in (top or {}).items()))
            for token, logprob, top in zip(self.tokens, self.token_logprobs, alternatives, strict=True)
        )


class _Choice(Struct):
    index: int = 0
    logprobs: _Logprobs | None = None

    def read(self) -> tuple[TokenLogprob, ...]:
        return self.logprobs.read() if self.logprobs else ()


class _Answer(Struct):
    choices: tuple[_Choice, ...] = ()


_ANSWER = msgspec.json.Decoder(_Answer)
_OBJECT = msgspec.json.Decoder(dict[str, Raw])
_OBJECTS = msgspec.json.Decoder(list[dict[str, Raw]])


def client_wants_logprobs(call: ChatCall) -> bool:
    """Return whether the client asked for logprobs. In completions, 0 asks for those of the chosen tokens."""
    wanted = call.body.get("logprobs")
    return wanted is not None and wanted is not False


def with_logprobs(call: ChatCall) -> ChatCall:
    """Return the call with a request for logprobs, or unchanged if the client asked for them or for `echo`.

    With `echo`, vLLM would also compute the logprobs of the prompt, without its prefix cache, and they say nothing
    about the answer.
    """
    echoes = not call.endpoint.has_messages and call.body.get("echo") is True
    if client_wants_logprobs(call) or echoes or not call.endpoint.logprobs_fields:
        return call
    return call.replaced(call.endpoint.logprobs_fields)


def tokens_of(body: bytes) -> list[tuple[TokenLogprob, ...]]:
    """Return the tokens of each choice of a whole answer; empty if it has no logprobs.

    If one token has no logprob, as the first one of an echoed prompt, the result is empty.
    """
    try:
        return [choice.read() for choice in _ANSWER.decode(body).choices]
    except _UNREADABLE:
        return []


def tokens_of_event(event: bytes) -> list[tuple[int, tuple[TokenLogprob, ...]]] | None:
    """Return the index and the tokens of each choice in a stream event, or None if they cannot be read."""
    try:
        return [(choice.index, tokens) for choice in _ANSWER.decode(event).choices if (tokens := choice.read())]
    except _UNREADABLE:
        return None


def read_logprobs(choice: object) -> tuple[TokenLogprob, ...]:
    """Return the tokens of a decoded choice; empty if it has no logprobs."""
    try:
        return msgspec.convert(choice, _Choice).read()
    except _UNREADABLE:
        return ()


def without_logprobs(answer: bytes) -> bytes:
    """Return a whole answer or a stream event in which `logprobs` is null for every choice.

    All other values are kept byte for byte. An answer without logprobs, or one that cannot be read, is returned
    unchanged. Call this before anything else reads the answer: most of its bytes are logprobs.
    """
    try:
        whole = _OBJECT.decode(answer)
        choices = _OBJECTS.decode(whole["choices"])
    except (*_UNREADABLE, KeyError):
        return answer
    with_values = [choice for choice in choices if "logprobs" in choice and bytes(choice["logprobs"]) != b"null"]
    for choice in with_values:
        choice["logprobs"] = Raw(b"null")
    return msgspec.json.encode({**whole, "choices": choices}) if with_values else answer
