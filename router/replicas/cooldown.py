"""How long a replica wants no requests: its upstream said so (`Retry-After`), or it was too slow."""

from __future__ import annotations

from router.replicas.shared_memory import cells
from router.types import NANO

MAX_COOLDOWN_S = 60.0
"""A longer one would hide for hours that the upstream has recovered. One request in this time costs little."""


class Cooldown:
    """One cell of nanoseconds, which all processes share that were forked later. Times are of the monotonic clock.

    Unlike an open breaker it says nothing about the replica's health: other replicas and models are preferred, and it
    is asked where there is no other.
    """

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = cells(1)

    def begin(self, now: float, seconds: float) -> None:
        """Send no requests for so many seconds, at most `MAX_COOLDOWN_S`. A cooldown that ends later stays."""
        until = now + min(seconds, MAX_COOLDOWN_S)
        self._until[0] = max(self._until[0], round(until * NANO))

    def left_s(self, now: float) -> float:
        """Return the seconds until requests may be sent again, or 0."""
        return max(0.0, self._until[0] / NANO - now)
