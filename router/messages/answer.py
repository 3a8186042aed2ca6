"""Reading what an upstream answered: is it an answer at all, is it whole, what did it use. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from router.errors import UpstreamFailed
from router.types import Usage

DONE = b"[DONE]"
_FAST = msgspec.json.Decoder()


def parse_whole(body: bytes, choices_wanted: int) -> dict[str, Any]:
    """Return a whole answer with as many choices as were asked for, each with its finish_reason.

    Raises:
        UpstreamFailed: it is not JSON, or no whole answer.
    """
    try:
        answer = _FAST.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        answer = _read_again(body)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if not isinstance(choices, list) or not choices:
        raise UpstreamFailed("the upstream answered 200 without any choice")
    for choice in choices:
        if not isinstance(choice, dict) or not choice.get("finish_reason"):
            raise UpstreamFailed("the upstream answered with a choice that has no finish_reason")
    if len(choices) < choices_wanted:
        raise UpstreamFailed(f"the upstream answered with {len(choices)} choices instead of {choices_wanted}")
    return dict(answer)


def _read_again(text: bytes) -> Any:
    """Return what is JSON all the same: half of a surrogate pair, a number beyond a double.

    Raises:
        UpstreamFailed: it is not JSON.
    """
    try:
        return json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise UpstreamFailed("the upstream answered 200 with something that is not JSON") from None


def write(answer: Mapping[str, Any]) -> bytes:
    """Return an answer, or an event of one, that had to be changed.

    Raises:
        UpstreamFailed: the upstream put a number into it that JSON has not.
    """
    try:
        return json.dumps(answer, allow_nan=False).encode()
    except ValueError:
        raise UpstreamFailed("the upstream's answer holds a number that JSON has not") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


class StreamReader:
    """Follows a stream of chunks: when content begins, whether every choice finished, what was used."""

    def __init__(self, choices: int) -> None:
        self.usage: Usage | None = None
        self.events = 0
        """events with content, about a token each"""
        self._choices = choices
        self._finished: set[int] = set()

    @property
    def content(self) -> bool:
        """Whether the answer has begun, or ended without any content."""
        return self.events > 0 or bool(self._finished)

    @property
    def finished(self) -> bool:
        """Whether every choice that was asked for has its finish_reason."""
        return len(self._finished) >= self._choices

    def read(self, event: bytes) -> dict[str, Any]:
        """Take one event into account and return it parsed.

        Raises:
            UpstreamFailed: it is not a JSON object, or its choices are none.
        """
        try:
            chunk = _FAST.decode(event)
        except (msgspec.DecodeError, ValueError, RecursionError):
            chunk = _read_again(event)
        if not isinstance(chunk, dict):
            raise UpstreamFailed("the upstream's stream holds an event that is no object")
        if choices := chunk.get("choices"):
            if not isinstance(choices, list):
                raise _no_choices()
            for choice in choices:
                self._read_choice(choice)
        if usage := chunk.get("usage"):
            self.usage = Usage.of(usage) or self.usage
        return chunk

    def _read_choice(self, choice: object) -> None:
        if not isinstance(choice, dict):
            raise _no_choices()
        if choice.get("finish_reason"):
            index = choice.get("index")
            self._finished.add(index if isinstance(index, int) else 0)
        delta = choice.get("delta")
        if (
            isinstance(delta, dict)
            and (delta.get("content") or any(value for key, value in delta.items() if key != "role"))
        ) or choice.get("text"):
            self.events += 1


def _no_choices() -> UpstreamFailed:
    return UpstreamFailed("the upstream's stream holds an event whose choices are no list of objects")


def only_usage(chunk: Mapping[str, Any]) -> bool:
    """Return whether the chunk is the one that `include_usage` adds at the end."""
    return not chunk.get("choices") and bool(chunk.get("usage"))
