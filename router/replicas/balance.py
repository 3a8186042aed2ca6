"""Chooses the replica that takes a call. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def least_loaded(in_flight: Sequence[int], turn: int) -> int:
    """Return the index with the fewest requests in flight. Ties rotate, so idle replicas share the work.

    Raises:
        ValueError: `in_flight` is empty.
    """
    least = min(in_flight)
    tied = [i for i, count in enumerate(in_flight) if count == least]
    return tied[turn % len(tied)]
