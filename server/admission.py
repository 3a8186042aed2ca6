"""Admission control: a limited number of requests run, others wait in a queue of limited length for a limited time.

A slot is either free or taken by one caller. A released slot goes to the first caller in the queue, so no later
caller can overtake. While a caller waits, every slot is taken. A wait ends in one of four ways:

    1. granted      the caller that releases the slot hands it over
    2. expired      the timer takes the caller out of the queue: Overloaded
    3. cancelled    while in the queue: the caller leaves the queue
    4. cancelled    after 1, before the caller runs again: the slot goes to the next caller

Every change of state happens between two awaits, so the event loop is the only lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from router.errors import Overloaded
from server.http.body_memory import BodyMemory

MIN_RETRY_AFTER_S = 1.0


class Admission:
    """`async with admission:` takes a slot for the length of a request. Times are in seconds.

    `shared_counts` is memory in which other processes can read [requests in flight, requests queued].
    """

    def __init__(
        self,
        max_in_flight: int,
        max_queued: int,
        queue_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        shared_counts: memoryview | None = None,
    ) -> None:
        self.bodies = BodyMemory()
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._queue_timeout_s = queue_timeout_s
        self._clock = clock
        self._shared_counts: memoryview | list[int] = [0, 0] if shared_counts is None else shared_counts
        self._in_flight = 0
        self._queue: deque[asyncio.Future[bool]] = deque()
        """one future for each waiting caller; its result is True for a slot, False for a wait that took too long"""
        self._last_handover_at: float | None = None
        self._handover_s = 0.0
        """moving average of the time between two handovers while callers wait"""

    @property
    def in_flight(self) -> int:
        """Return how many callers have a slot."""
        return self._in_flight

    @property
    def queued(self) -> int:
        """Return how many callers wait for a slot."""
        return len(self._queue)

    async def acquire(self) -> None:
        """Take a slot, after a wait in the queue if all are taken. The caller calls `release` exactly once.

        Raises:
            Overloaded: the queue is full, or the wait took too long. The error says when to retry.
        """
        if self._in_flight < self._max_in_flight:
            self._in_flight += 1
            self._publish_counts()
            return
        if len(self._queue) >= self._max_queued:
            raise self._overloaded("the queue is full")
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[bool] = loop.create_future()
        self._queue.append(turn)
        self._publish_counts()
        timer = loop.call_later(self._queue_timeout_s, self._expire, turn)
        try:
            granted = await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave_queue(turn)
            elif turn.result():
                self.release()
            raise
        finally:
            timer.cancel()
        if not granted:
            raise self._overloaded(f"no slot became free within {self._queue_timeout_s:g} s")

    def release(self) -> None:
        """Hand the slot to the first caller in the queue. If the queue is empty, the slot becomes free."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():  # done: it was cancelled, and its caller has not run since
                turn.set_result(True)
                self._update_handover_average()
                self._publish_counts()
                return
        self._last_handover_at = None
        self._in_flight -= 1
        self._publish_counts()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _expire(self, turn: asyncio.Future[bool]) -> None:
        if not turn.done():
            self._leave_queue(turn)
            turn.set_result(False)

    def _leave_queue(self, turn: asyncio.Future[bool]) -> None:
        if turn in self._queue:  # `release` may have removed it already
            self._queue.remove(turn)
            self._publish_counts()

    def _publish_counts(self) -> None:
        self._shared_counts[0], self._shared_counts[1] = self._in_flight, len(self._queue)

    def _update_handover_average(self) -> None:
        now = self._clock()
        if self._last_handover_at is not None:
            self._handover_s += (now - self._last_handover_at - self._handover_s) / 8
        self._last_handover_at = now

    def _overloaded(self, reason: str) -> Overloaded:
        """Return the error. Its `Retry-After` is the time in which the present queue should be served."""
        estimate_s = self._handover_s * len(self._queue)
        return Overloaded(
            f"The gateway is overloaded: {reason}. Retry later.",
            retry_after_s=min(max(estimate_s, MIN_RETRY_AFTER_S), max(self._queue_timeout_s, MIN_RETRY_AFTER_S)),
        )
