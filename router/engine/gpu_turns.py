"""Engines that share a GPU start one after another; all others start at the same time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager


class GpuTurns:
    """One lock for each GPU. vLLM measures the GPU's free memory while it starts: another start would spoil that.

    The locks are fair: an engine that fails again and again goes to the end of the queue each time.
    """

    def __init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def are_free(self, gpus: Collection[str]) -> bool:
        """Return whether no engine is starting on these GPUs."""
        return not any(self._locks[gpu].locked() for gpu in gpus)

    @asynccontextmanager
    async def turn(self, gpus: Collection[str]) -> AsyncIterator[None]:
        """Wait until no other engine is starting on these GPUs, and keep them. Without a GPU it does not wait."""
        async with AsyncExitStack() as held:
            for gpu in sorted(set(gpus)):  # in one order everywhere, so that no two wait for each other
                await held.enter_async_context(self._locks[gpu])
            yield
