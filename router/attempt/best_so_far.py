"""The best answer so far that is not good enough: kept while a better model is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from router.errors import Unavailable
from router.record import Attempt
from router.types import ChatCall, Reply

RUNAWAY = inf
"""the gain over an answer that repeats itself without end: any other is better"""
DEADLINE_RESERVE_S = 0.02
"""before the client's deadline, for sending an answer that was kept"""


class BestSoFar(NamedTuple):
    """An answer that is not sure enough, or that repeats itself: better than none if no higher rung can answer."""

    reply: Reply
    model: str
    """the model that gave it"""
    attempt: Attempt
    gain: float
    """quality that the fallback's answer is expected to add; the lower, the better this answer"""
    structured: str
    """the record's `structured` as it belongs to this answer"""

    @staticmethod
    def better_of(before: BestSoFar | None, now: BestSoFar) -> BestSoFar:
        """Return the better answer of two; the earlier one if they are equal."""
        return now if before is None or now.gain < before.gain else before


def latest_end(call: ChatCall, started: float) -> float | None:
    """Return when work on a request must end so that it can be answered before its deadline, or None without one.

    `started` is the request's start, in seconds of the monotonic clock.
    """
    deadline_ms = call.routing.deadline_ms
    return None if deadline_ms is None else started + deadline_ms / 1000 - DEADLINE_RESERVE_S


async def before_deadline(asking: Coroutine[Any, Any, Reply], call: ChatCall, started: float) -> Reply:
    """Wait for a better answer, but only until the kept one has to leave: shortly before the client's deadline.

    `started` is the request's start, in seconds of the monotonic clock.

    Raises:
        Unavailable: the deadline is near.
    """
    end_by = latest_end(call, started)
    if end_by is None:
        return await asking
    try:
        async with asyncio.timeout(end_by - monotonic()):
            return await asking
    except TimeoutError:
        raise Unavailable("The request's deadline is near.", code="deadline_exceeded") from None
