"""Limits extra requests to a share of the traffic, so that retries cannot multiply an overload. Pure: time is an
argument.

The idea is Finagle's retry budget and Envoy's: counted are the requests and the extra ones of the last seconds. A
server with little traffic has a floor.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 10


class RetryBudget:
    """In every `WINDOW_S` seconds there are at most `floor + share * requests` extra requests.

    Each process has its own: it counts its own traffic and its own retries.
    """

    def __init__(self, share: float, floor: int) -> None:
        self._share = share
        self._floor = floor
        self._slots: deque[list[int]] = deque()  # of each second with traffic: second, requests, extra requests
        self._requests = 0
        self._extra = 0

    def count_request(self, now: float) -> None:
        """Count one request of a client. `now`: seconds; a clock that goes back is taken as standing still."""
        slot = self._slots[-1] if self._slots else None
        if slot is None or slot[0] < int(now):
            slot = self._current(now)
        slot[1] += 1
        self._requests += 1

    def withdraw(self, now: float) -> bool:
        """Return whether one extra request may be sent now. If so, it is counted."""
        slot = self._current(now)
        if self._extra + 1 > self._floor + self._share * self._requests:
            return False
        slot[2] += 1
        self._extra += 1
        return True

    def _current(self, now: float) -> list[int]:
        """Return the slot of this second, without those that have left the window."""
        second, slots = int(now), self._slots
        if slots and slots[-1][0] >= second:
            return slots[-1]
        while slots and slots[0][0] <= second - WINDOW_S:
            _, requests, extra = slots.popleft()
            self._requests -= requests
            self._extra -= extra
        slots.append([second, 0, 0])
        return slots[-1]
