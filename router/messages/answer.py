"""Parses an upstream's answers and checks that they are valid and complete. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from router.errors import UpstreamFailed
from router.messages.service_tier import service_tier_of
from router.types import Usage

DONE = b"[DONE]"
REPETITION = "repetition"
"""the finish reason of an answer that vLLM stopped because it repeats itself"""
ABORTED = ("abort", "error")
"""finish reasons of vLLM and SGLang, unknown to OpenAI's API: the engine gave up"""
_FAST_DECODER = msgspec.json.Decoder()


def parse_whole(body: bytes, choices_wanted: int) -> dict[str, Any]:
    """Parse a whole answer. It has at least `choices_wanted` choices, each with a finish_reason.

    Raises:
        UpstreamFailed: the body is not JSON, or the answer is incomplete or was aborted.
    """
    try:
        answer = _FAST_DECODER.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        answer = _decode_leniently(body)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices:
        raise UpstreamFailed("the upstream answered 200 without choices")
    for choice in choices:
        if not isinstance(choice, dict) or not choice.get("finish_reason"):
            raise UpstreamFailed("the upstream answered with a choice without a finish_reason")
        if choice["finish_reason"] in ABORTED:
            raise _aborted()
    if len(choices) < choices_wanted:
        raise UpstreamFailed(f"the upstream answered with {len(choices)} choices instead of {choices_wanted}")
    return dict(answer)


def _decode_leniently(text: bytes) -> Any:
    """Parse JSON that the fast decoder rejects: half of a surrogate pair, or a number beyond a double.

    Raises:
        UpstreamFailed: the text is not JSON.
    """
    try:
        return json.loads(text.decode(), parse_constant=_reject_constant)
    except (ValueError, RecursionError):
        raise UpstreamFailed("the upstream answered 200 with something that is not JSON") from None


def write(answer: Mapping[str, Any]) -> bytes:
    """Encode an answer, or an event of a stream, that the router has changed.

    Raises:
        UpstreamFailed: the upstream's answer contains a number that JSON does not allow.
    """
    try:
        return json.dumps(answer, allow_nan=False).encode()
    except ValueError:
        raise UpstreamFailed("the upstream's answer contains a number that JSON does not allow") from None


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


class StreamReader:
    """Tracks a stream of chunks: whether content has begun, whether every choice has finished, and the usage."""

    def __init__(self, choices: int) -> None:
        self.usage: Usage | None = None
        self.service_tier = ""
        """the one in which the upstream says that it serves the request"""
        self.events = 0
        """number of events with content, about one token each"""
        self.ran_away = False
        """a choice was stopped because it repeats itself"""
        self._choices = choices
        self._finished: set[int] = set()

    @property
    def has_begun(self) -> bool:
        """Whether the answer has begun, or has ended without content."""
        return self.events > 0 or bool(self._finished)

    @property
    def finished(self) -> bool:
        """Whether every requested choice has its finish_reason."""
        return len(self._finished) >= self._choices

    def read(self, event: bytes) -> dict[str, Any]:
        """Parse one event, update the state and return the event.

        Raises:
            UpstreamFailed: the event is not a JSON object, its choices are not a list of objects, or the upstream
                aborted the answer.
        """
        try:
            chunk = _FAST_DECODER.decode(event)
        except (msgspec.DecodeError, ValueError, RecursionError):
            chunk = _decode_leniently(event)
        if not isinstance(chunk, dict):
            raise UpstreamFailed("the upstream's stream contains an event that is not an object")
        if choices := chunk.get("choices"):
            if not isinstance(choices, list):
                raise _invalid_choices()
            for choice in choices:
                self._read_choice(choice)
        if usage := chunk.get("usage"):
            self.usage = Usage.of(usage) or self.usage
        if "service_tier" in chunk:
            self.service_tier = service_tier_of(chunk) or self.service_tier
        return chunk

    def _read_choice(self, choice: object) -> None:
        if not isinstance(choice, dict):
            raise _invalid_choices()
        if reason := choice.get("finish_reason"):
            if reason in ABORTED:
                raise _aborted()
            self.ran_away = self.ran_away or reason == REPETITION
            index = choice.get("index")
            self._finished.add(index if isinstance(index, int) else 0)
        delta = choice.get("delta")
        if (
            isinstance(delta, dict)
            and (delta.get("content") or any(value for key, value in delta.items() if key != "role"))
        ) or choice.get("text"):
            self.events += 1


def _aborted() -> UpstreamFailed:
    return UpstreamFailed("the upstream aborted its answer")


def _invalid_choices() -> UpstreamFailed:
    return UpstreamFailed("the upstream's stream contains an event whose choices are not a list of objects")


def is_runaway(choice: Mapping[str, Any]) -> bool:
    """Return whether the upstream stopped this choice because it repeats itself."""
    return choice.get("finish_reason") == REPETITION


def cut_short(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer, or an event of a stream, in which choices that repeat themselves are cut at a limit."""
    choices = answer.get("choices") or ()
    cut = [{**choice, "finish_reason": "length"} if is_runaway(choice) else choice for choice in choices]
    return {**answer, "choices": cut}


def is_usage_chunk(chunk: Mapping[str, Any]) -> bool:
    """Return whether this is the final chunk that `include_usage` adds."""
    return not chunk.get("choices") and bool(chunk.get("usage"))
