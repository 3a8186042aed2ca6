"""Parses an upstream's answers and checks that they are valid and complete. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isinf
from typing import Any

import msgspec

from router.errors import UpstreamFailed
from router.messages.call_deltas import CallDeltas
from router.messages.error_inside import ErrorInside, error_inside
from router.messages.finish_reason import REPETITION, finish_reason, is_known, reason_of_choice
from router.messages.openai_form import PLAIN_DELTA, put_message_in_form
from router.messages.service_tier import service_tier_of
from router.messages.usage import read_usage
from router.types import Usage

DONE = b"[DONE]"
_FAST_DECODER = msgspec.json.Decoder()
_BESIDE_CHOICES = frozenset({"error", "usage", "service_tier"})


def parse_whole(body: bytes, choices_wanted: int) -> dict[str, Any]:
    """Parse a whole answer. It has at least `choices_wanted` choices, each with a finish_reason.

    Raises:
        UpstreamFailed: the body is not JSON, or the answer is incomplete or was aborted.
        ErrorInside: the answer is an error, or one of its choices is.
    """
    try:
        answer = _FAST_DECODER.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        answer = _decode_leniently(body)
    choices = answer.get("choices") if isinstance(answer, dict) else None
    if (not choices or "error" in answer) and (error := error_inside(answer)) is not None:
        raise ErrorInside(error)
    if not isinstance(choices, list) or not choices:
        raise UpstreamFailed("the upstream answered 200 without choices")
    for choice in choices:
        if isinstance(choice, dict) and (error := choice.get("error")):
            raise ErrorInside(error)
        if not isinstance(choice, dict) or not (reason := choice.get("finish_reason")):
            raise UpstreamFailed("the upstream answered with a choice without a finish_reason")
        if not is_known(reason):
            reason_of_choice(choice)  # raises if it was aborted
    if len(choices) < choices_wanted:
        raise UpstreamFailed(f"the upstream answered with {len(choices)} choices instead of {choices_wanted}")
    return dict(answer)


def _decode_leniently(text: bytes) -> Any:
    """Parse JSON that the fast decoder rejects, such as half of a surrogate pair.

    Raises:
        UpstreamFailed: the text is not JSON.
    """
    try:
        return json.loads(text.decode(), parse_constant=_reject_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise UpstreamFailed("the upstream answered 200 with something that is not JSON") from None


def write(answer: Mapping[str, Any]) -> bytes:
    """Encode an answer, or an event of a stream, that the router has changed. All its numbers are finite."""
    try:
        return msgspec.json.encode(answer)
    except ValueError:  # half of a surrogate pair
        return json.dumps(answer).encode()


def _reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    if isinf(value := float(digits)):
        raise ValueError("a number is too large for a double")
    return value


class StreamReader:
    """Tracks a stream of chunks: whether content has begun, whether every choice has finished, and the usage.

    It also brings each chunk into OpenAI's form (see `openai_form`); `changed` says whether the last one had another.
    """

    def __init__(self, choices: int) -> None:
        self.usage: Usage | None = None
        self.service_tier = ""
        """the one in which the upstream says that it serves the request"""
        self.events = 0
        """number of events with content, about one token each"""
        self.ran_away = False
        """a choice was stopped because it repeats itself"""
        self.changed = False
        self.usage_beside = False
        """the last chunk had the usage beside choices, not in an event of its own"""
        self.has_usage_event = False
        """the usage came in an event of its own"""
        self._choices = choices
        self._finished: set[int] = set()
        self._calls: dict[int, CallDeltas] = {}
        """of each choice that calls a function"""
        self._usage_of_choice: Any = None
        self._legacy_calls: set[int] = set()
        """the choices that call a function in the older form"""

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
            ErrorInside: the event is an error.
        """
        self.changed = self.usage_beside = False
        try:
            chunk = _FAST_DECODER.decode(event)
        except (msgspec.DecodeError, ValueError, RecursionError):
            chunk = _decode_leniently(event)
        if not isinstance(chunk, dict):
            raise UpstreamFailed("the upstream's stream contains an event that is not an object")
        choices = chunk.get("choices")
        has_more = not _BESIDE_CHOICES.isdisjoint(chunk)
        if (not choices or (has_more and "error" in chunk)) and (error := error_inside(chunk)) is not None:
            raise ErrorInside(error)
        if choices:
            if not isinstance(choices, list):
                raise _invalid_choices()
            for choice in choices:
                self._read_choice(choice)
            if self._usage_of_choice is not None:
                chunk["usage"], has_more, self._usage_of_choice = self._usage_of_choice, True, None
        elif choices is None:  # client libraries go through the choices of every event
            chunk["choices"] = []
            self.changed = True
        if has_more:
            if usage := chunk.get("usage"):
                self.usage = read_usage(usage) or self.usage
                self.usage_beside = bool(choices)
                self.has_usage_event = self.has_usage_event or not choices
            self.service_tier = service_tier_of(chunk) or self.service_tier
        return chunk

    def _read_choice(self, choice: object) -> None:
        if not isinstance(choice, dict):
            raise _invalid_choices()
        if "error" in choice and (error := choice["error"]):
            raise ErrorInside(error)
        delta = choice.get("delta")
        if isinstance(delta, dict):
            content = delta.get("content")
            if not isinstance(content, str) or len(delta) > 1:  # nearly every delta is a text and nothing else
                self._read_delta(choice, delta)
                content = any(value for key, value in delta.items() if key != "role")
            if content or choice.get("text"):
                self.events += 1
        elif choice.get("text"):
            self.events += 1
        if (reason := choice.get("finish_reason")) is not None:
            self._read_finish(choice, reason)

    def _read_delta(self, choice: Mapping[str, Any], delta: dict[str, Any]) -> None:
        if delta.keys() <= PLAIN_DELTA and not isinstance(delta.get("content"), list):
            return
        if put_message_in_form(delta):
            self.changed = True
        if calls := delta.get("tool_calls"):
            if (deltas := self._calls.get(index := _index(choice))) is None:
                deltas = self._calls[index] = CallDeltas()
            if deltas.clean(calls):
                self.changed = True
        elif delta.get("function_call"):
            self._legacy_calls.add(_index(choice))

    def _read_finish(self, choice: dict[str, Any], reason: object) -> None:
        index = _index(choice)
        if not reason:  # some send an empty text instead of null
            choice["finish_reason"] = None
            self.changed = True
            return
        is_legacy = index in self._legacy_calls
        has_calls = is_legacy or index in self._calls
        if not is_known(reason) or (has_calls and reason == "stop"):
            choice["finish_reason"] = finish_reason(reason, has_calls=has_calls, is_legacy=is_legacy)
            self.ran_away = self.ran_away or is_runaway(choice)
            self.changed = True
        self._finished.add(index)
        if usage := choice.pop("usage", None):  # Moonshot's place for it
            self._usage_of_choice, self.changed = usage, True


def _index(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


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


def usage_apart(chunk: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return a chunk without its usage, and an event that has the usage alone, as OpenAI sends it."""
    kept = {name: value for name, value in chunk.items() if name != "usage"}
    return kept, write({**kept, "choices": [], "usage": chunk["usage"]})


def is_usage_chunk(chunk: Mapping[str, Any]) -> bool:
    """Return whether this is the final chunk that `include_usage` adds."""
    return "usage" in chunk and not chunk.get("choices") and bool(chunk["usage"])
