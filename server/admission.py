"""How many requests are at work at a time; the others wait in line, up to a length and a time.

A slot is free, or held by one caller. Where callers wait, a released slot is handed to the first of them, so
a later caller cannot overtake: while anyone waits, every slot is held. The cases of a wait:

    1. granted      the slot is handed over by the caller that releases it
    2. expired      the timer took the caller out of the line: Overloaded
    3. cancelled    while in line: the caller leaves it
    4. cancelled    after 1, before the caller ran again: the slot goes on to the next one

Every change of state happens between two awaits, so the event loop is the only lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from types import TracebackType

from router.errors import Overloaded

MIN_RETRY_AFTER_S = 1.0


class Admission:
    """`async with admission:` holds a slot for the length of a request. Times are seconds.

    `shared_counts` is where other processes may read [requests in flight, requests queued].
    """

    def __init__(
        self,
        max_in_flight: int,
        max_queued: int,
        queue_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        shared_counts: memoryview | None = None,
    ) -> None:
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._queue_timeout_s = queue_timeout_s
        self._clock = clock
        self._shared_counts: memoryview | list[int] = [0, 0] if shared_counts is None else shared_counts
        self._in_flight = 0
        self._queue: deque[asyncio.Future[bool]] = deque()
        """one future a waiting caller: True: it has a slot, False: it waited too long"""
        self._last_handover_at: float | None = None
        self._handover_s = 0.0
        """moving average of the time between two handovers while callers wait"""

    @property
    def in_flight(self) -> int:
        """Return how many callers hold a slot."""
        return self._in_flight

    @property
    def queued(self) -> int:
        """Return how many callers wait for one."""
        return len(self._queue)

    async def acquire(self) -> None:
        """Take a slot, waiting in line for it; `release` it exactly once.

        Raises:
            Overloaded: the line is full, or the wait took too long; says when to retry.
        """
        if self._in_flight < self._max_in_flight:
            self._in_flight += 1
            self._publish_counts()
            return
        if len(self._queue) >= self._max_queued:
            raise self._overloaded("too many requests wait already")
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
            raise self._overloaded(f"no slot came free within {self._queue_timeout_s:g} s")

    def release(self) -> None:
        """Give a slot back: to the first caller in line, else it is free."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():  # done: cancelled, its caller has not run since
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
        if turn in self._queue:  # not if `release` dropped it already
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
        """`Retry-After` is how long the line that stands now should take."""
        estimate_s = self._handover_s * len(self._queue)
        return Overloaded(
            f"The gateway is overloaded: {reason}. Retry later.",
            retry_after_s=min(max(estimate_s, MIN_RETRY_AFTER_S), max(self._queue_timeout_s, MIN_RETRY_AFTER_S)),
        )
