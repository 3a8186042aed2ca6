"""The best answer so far that is not sure enough: kept while a better model is asked. Pure."""

from __future__ import annotations

from typing import NamedTuple

from router.record import Attempt
from router.types import Reply


class BestSoFar(NamedTuple):
    """An answer below the confidence threshold: better than none if no higher rung can answer."""

    reply: Reply
    model: str
    """the model that gave it"""
    attempt: Attempt
    gain: float
    """quality that the fallback's answer is expected to add; the lower, the better this answer"""
    structured: str
    """the record's `structured` and `dropped` as they belong to this answer"""
    dropped: tuple[str, ...]

    @staticmethod
    def better_of(before: BestSoFar | None, now: BestSoFar) -> BestSoFar:
        """Return the better answer of two; the earlier one if they are equal."""
        return now if before is None or now.gain < before.gain else before
