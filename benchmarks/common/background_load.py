"""How much CPU time other programs use during a measurement, and so disturb it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.common.cpu import Meter

IDLE = (3, 4)  # fields of /proc/stat: idle, iowait
GUEST = 8  # the fields from here on are included in earlier ones
TICK = os.sysconf("SC_CLK_TCK")
NOISY_CORES = 0.1
"""reports warn from this background load on"""


class BackgroundLoad:
    """Counts the CPU time of the whole machine, less this process and the process trees that are measured."""

    def __init__(self, *roots: int) -> None:
        self._meters = [Meter(root) for root in roots]
        self._before = self._now()

    def lap(self) -> float | None:
        """Return how many cores other programs used on average since the last lap or the start; None: unknown."""
        now = self._now()
        seconds, busy, own = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        try:
            measured = own + sum(meter.lap() for meter in self._meters)
        except ProcessLookupError:  # a measured process has ended, so its CPU time is lost
            return None
        return max(0.0, (busy - measured) / seconds) if seconds > 0 else 0.0

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), busy_s(Path("/proc/stat").read_text()), time.process_time()


def busy_s(stat: str) -> float:
    """Return the seconds that all cores together were busy since boot, including time stolen by other machines."""
    fields = [int(field) for field in stat.splitlines()[0].split()[1:]]
    return sum(ticks for place, ticks in enumerate(fields[:GUEST]) if place not in IDLE) / TICK
