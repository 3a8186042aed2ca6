"""One upstream's stream as the client may see it. It owns the lease until its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from router.attempt.failure import classify
from router.errors import ApiError, UpstreamError, UpstreamFailed, UpstreamTimedOut
from router.judge.gate import StreamGate
from router.messages.answer import DONE, StreamReader, only_usage, write
from router.replicas.pool import Health, Lease
from router.structured.answer.assemble import endpoint_fields
from router.structured.answer.render_stream import render_stream
from router.structured.answer.stream_checker import StreamChecker
from router.structured.contract import Choices
from router.types import ChatCall, Usage
from router.upstream.base import MAX_BODY_BYTES, Dialect, Exchange

DRAIN_S = 0.25
"""how long the connection may take to end after `[DONE]`, so that it can be used again"""
MOST_AT_ONCE = 256
"""events handed on together: a held answer leaves in pieces, and waits for its client between them"""
Verify = Callable[[Choices, Usage | None], Awaitable[Choices | None]]
"""takes an answer's choices; returns what may leave instead, None: as they are; raises StructuredOutputViolation"""
_FRAME = ("id", "object", "created", "model", "system_fingerprint")


class AnswerStream:
    """Yields the event payloads that came together, without `[DONE]`.

    With a `follower`, events leave when it lets them; what waits until the end leaves as `verify` has it. With a
    `gate`, the first of them waits until it is open.
    Raises ApiError where the upstream did not finish its answer, or the answer broke its format.
    """

    def __init__(
        self,
        call: ChatCall,
        lease: Lease,
        exchange: Exchange,
        dialect: Dialect,
        first_by: float,
        end_by: float,
        checker: StreamChecker | None = None,
        verify: Verify | None = None,
        gate: StreamGate | None = None,
    ) -> None:
        self._lease = lease
        self._exchange = exchange
        self._dialect = dialect
        self._is_chat = call.is_chat
        self._keep_usage = call.include_usage
        self._reader = StreamReader(call.choices)
        self._first_by: float | None = first_by
        self._end_by = end_by
        self._checker = checker
        self._verify = verify
        self._gate = gate
        self._frame: dict[str, Any] = {}
        self._usage: Any = None
        self._said: Choices = ()
        self._ready: list[bytes] = []
        self._held: list[bytes] = []
        self._kept = 0  # bytes of events in both; a follower keeps what all of them say
        self._whole = False
        self._ended = False
        self._error: ApiError | None = None

    async def begin(self) -> None:
        """Read until the first content may leave: until then another upstream can still be asked instead.

        Where the gate stays closed, the stream is read to its end; its events are there, if they are wanted after all.

        Raises:
            ApiError: the upstream failed before, or all that it said was held and broke its format.
        """
        while not self._begun and not self._ended:
            await self._read()
        if self._error and not self._begun:
            raise self._error

    @property
    def _begun(self) -> bool:
        if self._gate is not None and not self._gate.is_open:
            return False
        return self._reader.content if self._checker is None else self._checker.has_begun

    def __aiter__(self) -> AnswerStream:
        return self

    async def __anext__(self) -> list[bytes]:
        while not self._ready:
            if self._error:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            await self._read()
        events, self._ready = self._ready[:MOST_AT_ONCE], self._ready[MOST_AT_ONCE:]
        if self._checker is None:
            self._kept -= sum(map(len, events))
        return events

    async def _read(self) -> None:
        health: Health = "good"
        try:
            await (self._drain() if self._whole else self._read_events())
        except ApiError as error:
            if isinstance(error, UpstreamError):
                error.of_model(self._lease.model.name)
            self._error, self._ended = error, True
            failure = classify(error)
            self._lease.attempt.failure = failure.reason or "rejected"
            # an answer over its limit in all may just be long, or its client slow
            against = failure.speaks_against_replica and monotonic() < self._end_by
            health = "bad" if against else "unknown"
        if self._ended:
            self._lease.release(monotonic(), health)

    async def _read_events(self) -> None:
        now = monotonic()
        if now >= self._end_by:
            raise UpstreamTimedOut("the answer took longer than it may in all")
        # only the upstream's silence counts: not the time that the client took since the last event
        silence_s = self._lease.model.timeouts.idle_s if self._first_by is None else self._first_by - now
        events = await self._exchange.next_events(min(silence_s, self._end_by - now))
        self._first_by = None
        try:
            for event in events:
                if event.strip() == DONE:
                    self._whole = True
                    break
                if self._gate is not None:
                    event = self._heard(event, self._gate)  # noqa: PLW2901 - without its logprobs
                chunk = self._reader.read(event)
                if error := chunk.get("error"):
                    raise self._dialect.refusal(self._lease.model, _status(error), event, None)
                if self._keep_usage or not only_usage(chunk):
                    self._take(event, chunk)
                if self._gate is not None and (self._checker is None or not self._checker.is_holding):
                    self._gate.judge_beginning()
        finally:
            self._lease.attempt.usage, self._lease.attempt.events = self._reader.usage, self._reader.events
        if self._kept > MAX_BODY_BYTES:
            raise UpstreamFailed(f"the upstream's answer is longer than {MAX_BODY_BYTES} bytes")
        self._whole = self._whole or not events
        if self._whole and not self._reader.finished:
            raise UpstreamFailed("the upstream ended its stream before it finished the answer")
        if self._whole and self._checker and self._verify and self._checker.is_holding:
            await self._judge(self._checker, self._verify)
        if self._whole and self._gate is not None:
            self._gate.end(self._said)

    def _heard(self, event: bytes, gate: StreamGate) -> bytes:
        heard = gate.hear(event)
        self._kept += 0 if gate.is_open else len(event) - len(heard)
        return heard

    def _take(self, event: bytes, chunk: Mapping[str, Any]) -> None:
        self._kept += len(event)
        if self._checker is None:
            self._ready.append(event)
            return
        if parts := chunk.get("choices"):
            self._frame = self._frame or {name: chunk[name] for name in _FRAME if name in chunk}
            chunk = {**chunk, "choices": [endpoint_fields(part, is_chat=self._is_chat) for part in parts]}
        if self._keep_usage:
            self._usage = chunk.get("usage") or self._usage
        self._held.append(event)
        if self._checker.feed(chunk):
            self._ready += self._held
            self._held.clear()

    async def _judge(self, checker: StreamChecker, verify: Verify) -> None:
        """Let the rest leave: as it came, or told again where its check changed it."""
        self._said = checker.choices()
        if instead := await verify(self._said, self._reader.usage):
            self._said = instead
            self._held = render_stream(instead, checker.sent, self._frame)
            if self._usage:
                self._held.append(write({**self._frame, "choices": [], "usage": self._usage}))
        self._ready += self._held
        self._held = []

    async def _drain(self) -> None:
        self._ended = True
        with suppress(UpstreamFailed, UpstreamTimedOut):
            # the answer is whole; at worst the connection cannot be used again
            await self._exchange.next_events(DRAIN_S)


def _status(error: object) -> int:
    code = error.get("code") if isinstance(error, dict) else None
    return code if isinstance(code, int) and 400 <= code < 600 else 500
