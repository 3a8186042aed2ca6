"""A whole answer that is read as a stream, so that it can be stopped when it does not end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any

from router.attempt.event_source import EventSource
from router.errors import UpstreamFailed
from router.messages.answer import DONE, StreamReader, write
from router.messages.error_inside import ErrorInside
from router.structured.answer.stream_checker import StreamChecker
from router.upstream.base import MAX_BODY_BYTES

_OF_CHUNKS = frozenset({"choices", "object"})
_OF_DELTAS = frozenset({"index", "delta", "text", "finish_reason"})
_OBJECTS = {"chat.completion.chunk": "chat.completion"}


async def read_assembled(source: EventSource, choices: int, checker: StreamChecker) -> bytes:
    """Return the body of the whole answer that the events of a stream make. `choices`: how many were asked for.

    An upstream that does not stream, although it was asked to, is read as it answers.

    Raises:
        Runaway: the answer does not end.
        ApiError: the upstream failed, or did not finish its answer.
    """
    if not source.exchange.is_stream:
        return await source.exchange.read()
    reader, rest = StreamReader(choices), _Rest()
    attempt = source.lease.attempt
    size, is_whole = 0, False
    try:
        while not is_whole:
            events = await source.exchange.next_events(source.end_by - monotonic())
            is_whole = not events
            for event in events:
                if event.strip() == DONE:
                    is_whole = True
                    break
                chunk = reader.read(event)
                checker.feed(chunk)
                rest.add(chunk)
                size += len(event)
            if size > MAX_BODY_BYTES:
                raise UpstreamFailed(f"the upstream's answer is longer than {MAX_BODY_BYTES} bytes")
    except ErrorInside as inside:
        raise source.refusal(inside.error) from None
    finally:
        attempt.usage, attempt.events, attempt.service_tier = reader.usage, reader.events, reader.service_tier
    if not reader.finished:
        raise UpstreamFailed("the upstream ended its stream before it finished the answer")
    await source.drain()
    return write(rest.whole(checker.choices()))


class _Rest:
    """What a stream says beside the messages: the fields of the answer, and those of its choices, as `logprobs`."""

    def __init__(self) -> None:
        self._answer: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, chunk: Mapping[str, Any]) -> None:
        for name, value in chunk.items():
            if name == "object":
                self._answer[name] = _OBJECTS.get(value, value) if isinstance(value, str) else value
            elif name not in _OF_CHUNKS and (value is not None or name not in self._answer):
                self._answer[name] = value
        for part in chunk.get("choices") or ():
            if not part.keys() <= _OF_DELTAS:
                choice = self._choices.setdefault(part.get("index", 0), {})
                for name in part.keys() - _OF_DELTAS:
                    choice[name] = _joined(choice.get(name), part[name])

    def whole(self, choices: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the answer with these choices."""
        return {**self._answer, "choices": [{**choice, **self._choices.get(choice["index"], {})} for choice in choices]}


def _joined(before: Any, now: Any) -> Any:
    """Return a field of a choice: lists go on, within objects too; otherwise the last value that is not null counts."""
    if isinstance(before, list) and isinstance(now, list):
        before += now
        return before
    if isinstance(before, dict) and isinstance(now, dict):
        return before | {name: _joined(before.get(name), value) for name, value in now.items()}
    return before if now is None else now
