"""Total time for which a replica was up. One process writes it; all processes forked from the same parent read it."""

from __future__ import annotations

from router.replicas.shared_memory import cells
from router.types import NANO


class Uptime:
    """One cell of nanoseconds. While the replica is up, the start time is subtracted, so the cell is negative.

    Each change is a single write, so a process that dies cannot leave it half done. Times are seconds of the
    monotonic clock, above 0.
    """

    __slots__ = ("_cell",)

    def __init__(self) -> None:
        self._cell = cells(1)

    def note(self, now: float, *, up: bool) -> None:
        """Start or stop counting if `up` has changed."""
        if up != (self._cell[0] < 0):
            self._cell[0] += -_ns(now) if up else _ns(now)

    def until(self, now: float) -> float:
        """Return the total seconds up at `now`."""
        ns = self._cell[0]
        return max(0, ns + _ns(now) if ns < 0 else ns) / NANO


def _ns(seconds: float) -> int:
    return round(seconds * NANO)
