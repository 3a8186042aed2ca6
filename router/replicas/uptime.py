"""For how long a replica was seen up. One process writes it, all that were forked from the same one read it."""

from __future__ import annotations

from router.replicas.shared_memory import cells
from router.types import NANO


class Uptime:
    """Nanoseconds in one cell, less the clock's while the replica is up: so it is below 0 just then.

    Each change is one write, which no death of a process cuts in two. Times are seconds of the monotonic clock,
    above 0.
    """

    __slots__ = ("_cell",)

    def __init__(self) -> None:
        self._cell = cells(1)

    def note(self, now: float, *, up: bool) -> None:
        """Begin to count, or stop, if that is new."""
        if up != (self._cell[0] < 0):
            self._cell[0] += -_ns(now) if up else _ns(now)

    def until(self, now: float) -> float:
        """Return the seconds so far."""
        ns = self._cell[0]
        return max(0, ns + _ns(now) if ns < 0 else ns) / NANO


def _ns(seconds: float) -> int:
    return round(seconds * NANO)
