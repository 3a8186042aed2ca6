"""The client's own limit on a request's time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from router.errors import UpstreamTimedOut
from router.types import ChatCall


@asynccontextmanager
async def deadline(call: ChatCall, started: float) -> AsyncIterator[asyncio.Timeout]:
    """Cancel what runs within when `routing.deadline_ms` has passed since `started` (monotonic seconds).

    Raises:
        UpstreamTimedOut: it passed (`deadline_exceeded`). That says nothing of any upstream.
    """
    limit_ms = call.routing.deadline_ms
    timeout = asyncio.timeout(None if limit_ms is None else started + limit_ms / 1000 - monotonic())
    try:
        async with timeout:
            yield timeout
    except TimeoutError:
        if not timeout.expired():
            raise
        raise UpstreamTimedOut("the request's deadline passed", code="deadline_exceeded") from None
