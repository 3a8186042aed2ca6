"""How long a replica that failed waits before it is started again. Pure."""

from __future__ import annotations

BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0


def backoff_s(failures: int, chance: float) -> float:
    """Return the delay in seconds before the next start, after this many consecutive failures: 1, 2, 4, .. 60.

    `chance`, from 0 to 1, takes up to half of it away, so that replicas which failed together do not start together.
    """
    return min(MAX_BACKOFF_S, BACKOFF_S * 2.0 ** min(failures - 1, 10)) * (1 - chance / 2)
