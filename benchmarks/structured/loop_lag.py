"""How long the event loop is blocked, so that everything else on it has to wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field

from benchmarks.common.stats import percentile

TICK_S = 0.001


@dataclass(slots=True)
class Lag:
    """Milliseconds between two turns of a task that asks for a turn every millisecond."""

    wall: list[float] = field(default_factory=list)
    """beyond that millisecond; other programs on the machine can lengthen it"""
    own: list[float] = field(default_factory=list)
    """CPU time of the loop's thread meanwhile, which other programs cannot lengthen"""

    def figures(self) -> dict[str, float]:
        """Return the 99th percentile and the maximum of both."""
        return {
            f"{name}_{figure}_ms": value
            for name, values in asdict(self).items()
            for figure, value in (("p99", percentile(values, 0.99)), ("max", max(values)))
        }


@contextlib.asynccontextmanager
async def measured_lag() -> AsyncIterator[Lag]:
    """Measure the lag of this event loop until the context ends."""
    lag = Lag()
    ticker = asyncio.create_task(_tick(lag))
    await asyncio.sleep(2 * TICK_S)
    try:
        yield lag
        await asyncio.sleep(2 * TICK_S)  # a blocked loop shows at the next tick
    finally:
        ticker.cancel()


async def _tick(lag: Lag) -> None:
    wall, own = time.perf_counter(), time.thread_time()
    while True:
        await asyncio.sleep(TICK_S)
        now, worked = time.perf_counter(), time.thread_time()
        lag.wall.append((now - wall - TICK_S) * 1e3)
        lag.own.append((worked - own) * 1e3)
        wall, own = now, worked
