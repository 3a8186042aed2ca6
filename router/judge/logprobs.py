"""Ask an engine for the logprobs of its tokens, read them, and take them out where the client did not ask. Pure.

What confidence needs is each token's own logprob. The likeliest others (`top_logprobs`) are read where the client asked
for them: asking for two doubles the answer's length and what reading it takes, and the score does not use them.

A stream of vLLM tells tokens also in events without content (of a tool call's envelope), which it would not send else;
they stay, as events with an empty `delta`.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from router.judge.features import Alternative, TokenLogprob
from router.types import ChatCall

_UNREADABLE = (msgspec.DecodeError, ValueError, RecursionError)


class _Logprobs(Struct):
    content: tuple[TokenLogprob, ...] | None = None
    """chat"""
    tokens: tuple[str, ...] = ()
    token_logprobs: tuple[float, ...] = ()
    top_logprobs: tuple[dict[str, float] | None, ...] | None = None
    """completions"""

    def read(self) -> tuple[TokenLogprob, ...]:
        if self.content is not None:
            return self.content
        tops = self.top_logprobs or (None,) * len(self.tokens)
        return tuple(
            TokenLogprob(token, logprob, top_logprobs=tuple(Alternative(*other) for other in (top or {}).items()))
            for token, logprob, top in zip(self.tokens, self.token_logprobs, tops, strict=True)
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
    """Return whether the client wants to see logprobs; a completion's 0 asks for those of the chosen tokens."""
    wanted = call.body.get("logprobs")
    return wanted is not None and wanted is not False


def with_logprobs(call: ChatCall) -> ChatCall:
    """Return the call with logprobs asked for; as it is where the client asked, or wants its prompt echoed.

    To echo, vLLM would compute those of the prompt, too, and not use its prefix cache; and they are not the answer's.
    """
    echoes = not call.endpoint.has_messages and call.body.get("echo") is True
    if client_wants_logprobs(call) or echoes or not call.endpoint.logprobs_fields:
        return call
    return call.replaced(call.endpoint.logprobs_fields)


def tokens_of(body: bytes) -> list[tuple[TokenLogprob, ...]]:
    """Return the tokens of each choice of a whole answer; empty where they are not told.

    All or nothing: where one token has no logprob (the first of an echoed prompt has none), none of the answer is told.
    """
    try:
        return [choice.read() for choice in _ANSWER.decode(body).choices]
    except _UNREADABLE:
        return []


def tokens_of_event(event: bytes) -> list[tuple[int, tuple[TokenLogprob, ...]]] | None:
    """Return the tokens in one event of a stream, each choice's with its index; None where they cannot be read."""
    try:
        return [(choice.index, tokens) for choice in _ANSWER.decode(event).choices if (tokens := choice.read())]
    except _UNREADABLE:
        return None


def read_logprobs(choice: object) -> tuple[TokenLogprob, ...]:
    """Return the tokens of one choice that was decoded already; empty where they are not told."""
    try:
        return msgspec.convert(choice, _Choice).read()
    except _UNREADABLE:
        return ()


def without_logprobs(answer: bytes) -> bytes:
    """Return a whole answer, or an event, with null for its choices' logprobs, as where none are asked for.

    All other values stay as the upstream wrote them. What holds no logprobs, or is no answer, comes back as it is.
    Do so before anything else reads the answer: most of its bytes are logprobs.
    """
    try:
        whole = _OBJECT.decode(answer)
        choices = _OBJECTS.decode(whole["choices"])
    except (*_UNREADABLE, KeyError):
        return answer
    telling = [choice for choice in choices if "logprobs" in choice and bytes(choice["logprobs"]) != b"null"]
    for choice in telling:
        choice["logprobs"] = Raw(b"null")
    return msgspec.json.encode({**whole, "choices": choices}) if telling else answer
