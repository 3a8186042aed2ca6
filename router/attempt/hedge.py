"""A second request beside one that is slow to begin ("The Tail at Scale", Dean and Barroso, 2013).

Only streams are hedged, by the time to their first event. How long a whole answer takes depends mostly on its length:
a slow one is mostly a long one, and asking for it twice would double the work for nothing.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from router.attempt.adapting import Adapting
from router.attempt.ending import end_attempt, end_failed
from router.attempt.event_source import EventSource
from router.attempt.failure import classify
from router.attempt.retry_budget import RetryBudget
from router.attempt.send import send
from router.errors import ApiError, UpstreamFailed
from router.record import RequestRecord
from router.replicas.begin_times import BeginTimes
from router.replicas.pool import Lease, Pool
from router.types import ChatCall
from router.upstream.base import Upstream

HEDGE_SHARE, HEDGE_FLOOR = 0.02, 1
"""at most 2 % of a model's streams are hedged; with little traffic one in 10 s may be"""
MIN_WAIT_S = 0.05
"""a stream that begins earlier is fast enough"""

SendOn = Callable[[Lease], Awaitable[EventSource]]


@dataclass(slots=True)
class HedgeStats:
    """What one process knows of one model's streams."""

    begin_times: BeginTimes = field(default_factory=BeginTimes)
    budget: RetryBudget = field(default_factory=lambda: RetryBudget(HEDGE_SHARE, HEDGE_FLOOR))


class Hedging:
    """Sends requests, those that are slow to begin twice. All requests of a process share it."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self.stats: defaultdict[str, HedgeStats] = defaultdict(HedgeStats)
        """by model"""

    def send(
        self, adapting: Adapting, pool: Pool, lease: Lease, record: RequestRecord, tried: list[str]
    ) -> Awaitable[EventSource]:
        """Send the call on the lease, which the caller owns; afterwards the caller owns the lease of the result.

        If it is another one, the first lease has been released. The record has the attempts of both, last the one that
        goes on, and the result of the hedge. `tried` gets the name of a replica that failed while the other went on.

        Raises:
            ApiError: of the first request; the second one, if there was any, has failed, too.
        """

        if len(pool.replicas) > 1 and _may_hedge(adapting.asked, pool):
            return self._send_hedged(adapting, pool, lease, record, tried)
        return self._send_on(adapting, record, lease)

    def _send_on(self, adapting: Adapting, record: RequestRecord, lease: Lease) -> Awaitable[EventSource]:
        record.attempts.append(lease.attempt)
        return send(self._upstream, adapting, lease, f"{record.request_id}-{len(record.attempts)}")

    async def _send_hedged(
        self, adapting: Adapting, pool: Pool, lease: Lease, record: RequestRecord, tried: list[str]
    ) -> EventSource:
        send_on = partial(self._send_on, adapting, record)
        stats = self.stats[pool.model.name]
        sent_at = monotonic()
        stats.budget.count_request(sent_at)
        p95_s = stats.begin_times.p95(sent_at)
        if p95_s is None:
            source = await _begin(send_on, lease)
        else:
            race = _Race(adapting.asked, pool, lease, send_on, tried)
            try:
                source = await race.run(max(p95_s, MIN_WAIT_S), stats.budget)
            finally:
                if race.second is not None:
                    record.hedges.append((pool.model.name, "won" if race.winner is race.second else "lost"))
            if record.attempts[-1] is not source.lease.attempt:
                record.attempts[-2:] = reversed(record.attempts[-2:])
        now = monotonic()
        stats.begin_times.note(now - sent_at, now)
        return source


class _Race:
    """One request and, if its stream is slow to begin, a second one on another replica.

    It releases each lease that is neither the caller's nor the winner's exactly once, also if the caller is cancelled.
    """

    def __init__(self, call: ChatCall, pool: Pool, first: Lease, send_on: SendOn, tried: list[str]) -> None:
        self._call, self._pool, self._first, self._send_on, self._tried = call, pool, first, send_on, tried
        self._running: dict[asyncio.Task[EventSource], Lease] = {}
        self._begun: asyncio.Future[EventSource] = asyncio.get_running_loop().create_future()
        self._error: ApiError | None = None  # of the first request
        self.second: Lease | None = None
        self.winner: Lease | None = None

    async def run(self, after_s: float, budget: RetryBudget) -> EventSource:
        """Return the first stream that begins; the second request is sent after so many seconds."""
        timer = asyncio.get_running_loop().call_later(after_s, self._start_second, budget)
        try:
            self._start(self._first)
            source = await self._begun
            self.winner = source.lease
            return source
        finally:
            timer.cancel()
            for task in self._running:
                task.cancel()
            if self.second is not None:
                self._end_other(self.second)

    def _start(self, lease: Lease) -> None:
        task = asyncio.get_running_loop().create_task(_begin(self._send_on, lease))
        self._running[task] = lease
        task.add_done_callback(self._on_end)

    def _start_second(self, budget: RetryBudget) -> None:
        """Ask a replica that has less to do than the first one, if there is one and the budget allows it."""
        now, first = monotonic(), self._first.replica
        if self._begun.done() or not self._pool.untried(now, [first.name]):
            return
        others = [one.share.in_flight for one in self._pool.replicas if one.name != first.name and one.available(now)]
        if min(others, default=first.share.in_flight) >= first.share.in_flight or not budget.withdraw(now):
            return
        with suppress(ApiError):  # another process may have taken it in between
            self.second = self._pool.acquire(now, tried=[first.name])
            self._start(self.second)

    def _on_end(self, task: asyncio.Task[EventSource]) -> None:
        """Take the first stream that begins. An error counts only where no other request is left."""
        lease = self._running.pop(task)
        error = None if task.cancelled() else task.exception()
        if self._begun.done() or task.cancelled():
            return
        if error is None:
            self._begun.set_result(task.result())
            return
        if not isinstance(error, ApiError):  # a fault of our own
            self._begun.set_exception(error)
            return
        if lease is self._first:
            self._error = error
        else:
            self._fail(lease, error)
        if not self._running:
            self._begun.set_exception(self._error or error)

    def _end_other(self, second: Lease) -> None:
        """Release the lease of the request that did not win. Without a winner, the first lease is the caller's."""
        if self.winner is not second:
            self._drop(second)
        elif self._error is not None:
            self._fail(self._first, self._error)
        else:
            self._drop(self._first)

    def _drop(self, lease: Lease) -> None:
        """Cancel a request. That says nothing about the replica's health."""
        if not lease.attempt.failure:
            lease.attempt.answered = True  # the upstream has the prompt, and most providers charge for it
            end_attempt(lease, self._call, monotonic(), "hedged", "unknown")

    def _fail(self, lease: Lease, error: ApiError) -> None:
        """End a request that failed while the other one went on."""
        end_failed(lease, self._call, monotonic(), classify(error), self._tried)


class _Begun:
    """Implements `Exchange`: returns the events that were read, then gives its place back to the exchange."""

    def __init__(self, source: EventSource, events: list[bytes]) -> None:
        self._source, self._events, self._exchange = source, events, source.exchange
        self.status, self.retry_after_s = source.exchange.status, source.exchange.retry_after_s
        self.is_stream = source.exchange.is_stream

    async def read(self) -> bytes:
        """Return the whole body."""
        return await self._exchange.read()

    async def next_events(self, within_s: float) -> list[bytes]:
        """Return the events that were read."""
        self._source.exchange = self._exchange
        return self._events

    def close(self) -> None:
        """Close the connection."""
        self._exchange.close()


async def _begin(send_on: SendOn, lease: Lease) -> EventSource:
    """Send the request, and return its stream when the first events have come; they are still to be read.

    Raises:
        ApiError: the request failed, or its stream ended before.
    """
    source = await send_on(lease)
    events = await source.exchange.next_events(source.may_wait_s())
    if not events:
        raise UpstreamFailed("the upstream ended its stream before it finished the answer")
    source.exchange = _Begun(source, events)
    return source


def _may_hedge(call: ChatCall, pool: Pool) -> bool:
    """Return whether a call may be sent twice. A client that limits the cost pays for one request at a time."""
    is_stream = call.stream and not call.is_assembled
    return is_stream and pool.model.hedge and call.routing.max_cost_usd is None
