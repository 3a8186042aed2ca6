"""One attempt's answer; if it is a stream, its events are read within the time limits."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic

from msgspec import Struct

from router.attempt.pace import Pace
from router.errors import ApiError, UpstreamFailed, UpstreamTimedOut
from router.replicas.pool import Lease
from router.upstream.base import Dialect, Exchange

DRAIN_S = 0.25
"""how long the connection may take to end after `[DONE]`, so that it can be used again"""


class EventSource(Struct):
    """One attempt's answer, after its headers. Times are seconds of the monotonic clock."""

    lease: Lease
    exchange: Exchange
    dialect: Dialect
    sent_at: float
    first_by: float | None
    """when the first event must have come; None after it has"""
    end_by: float
    """when the whole answer must have come"""
    pace: Pace | None = None
    """the probe of the stream's speed; None after it has passed, or without one"""

    @property
    def is_overdue(self) -> bool:
        """Return whether the time for the whole answer is over."""
        return monotonic() >= self.end_by

    def may_wait_s(self) -> float:
        """Return how long the next events may take.

        Only the upstream's silence counts against it, not the time that the client took since the last event.

        Raises:
            UpstreamTimedOut: the answer exceeds its total time limit.
        """
        now = monotonic()
        if now >= self.end_by:
            raise UpstreamTimedOut("the answer exceeded its total time limit")
        silence_s = self.lease.model.timeouts.idle_s if self.first_by is None else self.first_by - now
        return min(silence_s, self.end_by - now)

    async def next_probed_events(self) -> list[bytes]:
        """Return the next events while the speed is probed.

        Raises:
            UpstreamTimedOut: the stream is too slow (`upstream_too_slow`), or exceeds another limit.
        """
        within_s = self.may_wait_s()
        end_by = self.pace.end_by if self.pace else None
        if end_by is None:
            return await self.exchange.next_events(within_s)
        left_s = max(0.0, end_by - monotonic())
        try:
            return await self.exchange.next_events(min(within_s, left_s))
        except UpstreamTimedOut:
            if within_s < left_s:
                raise
        rate = self.lease.model.timeouts.min_tokens_per_s
        raise UpstreamTimedOut(f"the stream began with less than {rate:g} tokens a second", code="upstream_too_slow")

    async def drain(self) -> None:
        """Wait a moment for the connection's end after a whole answer; at worst it cannot be used again."""
        with suppress(UpstreamFailed, UpstreamTimedOut):
            await self.exchange.next_events(DRAIN_S)

    def refusal(self, error: object) -> ApiError:
        """Return what an error event means."""
        return self.dialect.error_inside(self.lease.model, error)
