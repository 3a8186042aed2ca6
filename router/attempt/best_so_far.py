"""The best answer so far that is not good enough: kept while a better model is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from router.errors import Unavailable
from router.record import Attempt, RequestRecord
from router.types import ChatCall, Reply

DEADLINE_RESERVE_S = 0.02
"""before the client's deadline, for sending an answer that was kept"""
RUNAWAY = 1e9
"""the gain over an answer that repeats itself without end: any other is better, but an empty one"""
EMPTY = inf
"""the gain over an empty answer: any other is better"""


class BestSoFar(NamedTuple):
    """An answer that is empty, repeats itself or is not sure enough: better than none if no other model can answer."""

    reply: Reply
    model: str
    """the model that gave it"""
    attempt: Attempt
    gain: float
    """quality that the fallback's answer is expected to add; the lower, the better this answer; EMPTY if it is empty"""
    structured: str
    """the record's `structured` as it belongs to this answer"""

    @property
    def is_empty(self) -> bool:
        """Return whether it has nothing for its reader."""
        return self.gain == EMPTY

    @staticmethod
    def better_of(before: BestSoFar | None, reply: Reply, record: RequestRecord, gain: float) -> BestSoFar:
        """Return the better one of an earlier answer and that of the last attempt; if they are equal, the earlier."""
        if before is not None and before.gain <= gain:
            return before
        attempt = record.attempts[-1]
        return BestSoFar(reply, attempt.model, attempt, gain, record.structured)


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
