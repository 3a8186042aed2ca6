"""How much of the machine other programs take during a measurement, which they disturb."""

from __future__ import annotations

import os
import time
from pathlib import Path

from benchmarks.cpu import Meter

IDLE = (3, 4)  # fields of /proc/stat: idle, iowait
GUEST = 8  # fields from here on are counted in earlier ones too
TICK = os.sysconf("SC_CLK_TCK")
NOISY = 0.1  # cores: from here on a reader is told


class Others:
    """Counts CPU time of the whole machine, less this process and the process trees that are measured."""

    def __init__(self, *roots: int) -> None:
        self._meters = [Meter(root) for root in roots]
        self._before = self._now()

    def lap(self) -> float | None:
        """Return how many cores others took, on average, since the last lap or the start; None: nobody can tell."""
        now = self._now()
        seconds, busy, own = (after - before for after, before in zip(now, self._before, strict=True))
        self._before = now
        try:
            ours = own + sum(meter.lap() for meter in self._meters)
        except ProcessLookupError:  # a process of ours ended, and its time with it
            return None
        return max(0.0, (busy - ours) / seconds) if seconds > 0 else 0.0

    def _now(self) -> tuple[float, float, float]:
        return time.monotonic(), busy_s(Path("/proc/stat").read_text()), time.process_time()


def busy_s(stat: str) -> float:
    """Return the seconds that all cores together were busy since the start, time stolen by other machines included."""
    fields = [int(field) for field in stat.splitlines()[0].split()[1:]]
    return sum(ticks for place, ticks in enumerate(fields[:GUEST]) if place not in IDLE) / TICK
