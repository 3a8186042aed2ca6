"""What the fleet and the workers tell each other of a model that is not always loaded. It is in shared memory.

Workers write how many requests wait for the model. The fleet writes whether it is loaded, and whether it pays to wait.
Each cell has one writer, so none needs a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import get_args

from router.replicas.shared_memory import cells
from router.types import NANO, LoadPhase, LoadReport, UnloadReason

POLL_S = 0.05
"""how often waiting requests look whether their model is loaded; all of a process look together"""

PHASES: tuple[LoadPhase, ...] = get_args(LoadPhase)
REASONS: tuple[UnloadReason, ...] = get_args(UnloadReason)
PHASE, MAY_WAIT, OPENS_AT, LOADS, UNLOADS = range(5)  # the fleet's cells; UNLOADS: one for each reason
WAITING, SINCE = 0, 1  # the cells of each worker


class LoadState:
    """One model's state. Times are seconds of the monotonic clock, above 0. Created before the fork."""

    def __init__(self, workers: int = 1) -> None:
        self.worker = 0
        """the number of this process's worker"""
        self._fleet = cells(UNLOADS + len(REASONS))
        self._workers = [cells(2) for _ in range(workers)]
        self._waiting: dict[asyncio.Future[None], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def may_wait(self) -> bool:
        """Return whether a request may wait for the model: it is loaded on demand."""
        return self._fleet[MAY_WAIT] == 1

    @property
    def is_loaded(self) -> bool:
        """Return whether the model should be able to serve requests now."""
        return PHASES[self._fleet[PHASE]] == "loaded"

    @property
    def waiting_since(self) -> float | None:
        """Return since when a request of any worker waits, or None if none does."""
        return min((one[SINCE] / NANO for one in self._workers if one[WAITING]), default=None)

    def opens_in_s(self, now: float) -> float | None:
        """Return the seconds until the model's hours begin, or None if it runs now."""
        opens_at = self._fleet[OPENS_AT]
        return max(0.0, opens_at / NANO - now) if opens_at else None

    def report(self) -> LoadReport:
        """Return the figures for people."""
        return LoadReport(
            phase=PHASES[self._fleet[PHASE]],
            may_wait=self.may_wait,
            waiting=sum(one[WAITING] for one in self._workers),
            loads=self._fleet[LOADS],
            unloads={reason: self._fleet[UNLOADS + at] for at, reason in enumerate(REASONS)},
        )

    def write(self, phase: LoadPhase, *, may_wait: bool, opens_at: float | None) -> None:
        """Publish the state. Only the fleet may call this; `opens_at`: when the hours begin, if they are over."""
        self._fleet[OPENS_AT] = 0 if opens_at is None else round(opens_at * NANO)
        self._fleet[MAY_WAIT] = may_wait
        self._fleet[PHASE] = PHASES.index(phase)

    def count_load(self) -> None:
        """Count a load. Only the fleet may call this."""
        self._fleet[LOADS] += 1

    def count_unload(self, reason: UnloadReason) -> None:
        """Count that the model was unloaded. Only the fleet may call this."""
        self._fleet[UNLOADS + REASONS.index(reason)] += 1

    def release_worker(self, worker: int) -> None:
        """Forget the waiting requests of a worker that died."""
        self._workers[worker][WAITING] = 0

    async def wait(self, is_over: Callable[[], bool], *, since: float, within_s: float) -> None:
        """Wait until `is_over` returns true, for `within_s` seconds at most. The fleet sees it, and loads the model.

        Args:
            is_over: looked at every `POLL_S`. It is the same for all requests that wait for the model.
            since: when the request began to wait; it may have waited before.
            within_s: the limit.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting[turn] = since
        self._publish()
        if self._timer is None:
            self._timer = loop.call_later(POLL_S, self._poll, loop, is_over)
        try:
            await asyncio.wait({turn}, timeout=within_s)
        finally:
            del self._waiting[turn]
            self._publish()

    def _poll(self, loop: asyncio.AbstractEventLoop, is_over: Callable[[], bool]) -> None:
        self._timer = None
        if is_over():
            for turn in self._waiting:
                if not turn.done():
                    turn.set_result(None)
        elif self._waiting:
            self._timer = loop.call_later(POLL_S, self._poll, loop, is_over)

    def _publish(self) -> None:
        own = self._workers[self.worker]
        own[SINCE] = round(min(self._waiting.values(), default=0.0) * NANO)
        own[WAITING] = len(self._waiting)
