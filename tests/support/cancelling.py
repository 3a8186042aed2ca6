"""Cancels work at any of its awaits, as a client does that leaves."""

from __future__ import annotations

import asyncio
from typing import Any


async def cancel_after(work: Any, steps: int) -> bool:
    """Let the work run for some steps of the loop, then cancel it; return whether it was done before."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.done()
    if not done:
        assert task.cancelled() or task.exception() is None
    return done
