"""Which replica takes the call. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def least_loaded(in_flight: Sequence[int], turn: int) -> int:
    """Return the index with the fewest requests in flight; equals take turns, so that idle replicas share work.

    Raises:
        ValueError: `in_flight` is empty.
    """
    least = min(in_flight)
    equals = [i for i, count in enumerate(in_flight) if count == least]
    return equals[turn % len(equals)]
