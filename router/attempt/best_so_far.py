"""An answer that is not sure enough, kept while somebody better is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import monotonic
from typing import NamedTuple

from router.attempt.failure import Failure
from router.config.models import Model
from router.errors import Unavailable
from router.record import RequestRecord
from router.replicas.pool import Lease
from router.types import ChatCall, Reply

NEAR_S = 0.02
"""before the client's deadline, for an answer that has waited to leave"""


class Unsure(NamedTuple):
    """An answer that is not sure enough: better than none, where nobody above can give one."""

    reply: Reply
    lease: Lease
    gain: float
    structured: str
    dropped: tuple[str, ...]

    @classmethod
    def surer(cls, before: Unsure | None, reply: Reply, lease: Lease, record: RequestRecord) -> Unsure:
        """Return the newest answer, or the one before where that is surer."""
        now = cls(reply, lease, record.judgements[-1].gain, record.structured, record.dropped)
        return now if before is None or now.gain < before.gain else before

    async def in_time(self, asking: Awaitable[Reply], call: ChatCall, record: RequestRecord) -> Reply:
        """Return what is asked for, unless the client's deadline is so near that this answer has to leave.

        Raises:
            Unavailable: it is.
        """
        if call.routing.deadline_ms is None:
            return await asking
        end_by = record.started + call.routing.deadline_ms / 1000 - NEAR_S
        try:
            async with asyncio.timeout(end_by - monotonic()):
                return await asking
        except TimeoutError:
            raise Unavailable("The request's deadline is near.", code="deadline_exceeded") from None

    def settle(self, record: RequestRecord, above: Failure) -> tuple[Model, Reply]:
        """Return whose it is and the answer itself, which may leave after all; the record says why."""
        self.lease.attempt.failure = ""
        record.unsure = above.reason or "rejected"
        record.structured, record.dropped = self.structured, self.dropped
        if self.reply.events is not None:
            record.first_token_s = monotonic() - record.started
        return self.lease.model, self.reply
