"""How long the recent streams of a model took to begin. Pure: time is an argument."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque

MAX_SAMPLES = 200
MIN_SAMPLES = 20
"""with fewer, the 95th percentile is unknown"""
MAX_AGE_S = 300.0


class BeginTimes:
    """The last `MAX_SAMPLES` times, of at most `MAX_AGE_S` seconds. Each process has its own."""

    def __init__(self) -> None:
        self._by_age: deque[tuple[float, float]] = deque()
        self._sorted: list[float] = []

    def note(self, seconds: float, now: float) -> None:
        """Add the time of one stream."""
        self._forget(now)
        if len(self._by_age) == MAX_SAMPLES:
            self._drop_oldest()
        self._by_age.append((now, seconds))
        insort(self._sorted, seconds)

    def p95(self, now: float) -> float | None:
        """Return the time within which 95 % of the streams began, or None if too few are known."""
        self._forget(now)
        count = len(self._sorted)
        return self._sorted[count * 95 // 100] if count >= MIN_SAMPLES else None

    def _forget(self, now: float) -> None:
        while self._by_age and self._by_age[0][0] < now - MAX_AGE_S:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, seconds = self._by_age.popleft()
        del self._sorted[bisect_left(self._sorted, seconds)]
