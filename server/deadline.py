"""The client's limit on the time of one request (`routing.deadline_ms`)."""

from __future__ import annotations

import asyncio
from time import monotonic
from types import TracebackType

from router.errors import UpstreamTimedOut


class Deadline:
    """`async with deadline:` cancels the block when `limit_ms` milliseconds have passed since `started`.

    `started` is a time of the monotonic clock, in seconds. Without a limit the block costs next to nothing.

    Raises:
        UpstreamTimedOut: the deadline passed (`deadline_exceeded`). No replica is blamed for it.
    """

    def __init__(self, limit_ms: int | None, started: float) -> None:
        self._timeout = None if limit_ms is None else asyncio.timeout(started + limit_ms / 1000 - monotonic())

    def disarm(self) -> None:
        """Switch the deadline off for the rest of the block."""
        if self._timeout is not None:
            self._timeout.reschedule(None)

    async def __aenter__(self) -> Deadline:
        if self._timeout is not None:
            await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timeout is None:
            return
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError:
            raise UpstreamTimedOut("the request's deadline passed", code="deadline_exceeded") from None
