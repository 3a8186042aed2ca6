"""Whether an engine is wanted. What runs meanwhile ends when it no longer is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Wanted:
    """A switch that is on at first. Only one coroutine runs under it at a time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._event.set()
        self._scope: asyncio.Timeout | None = None

    def __bool__(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        """Switch it on."""
        self._event.set()

    def clear(self) -> None:
        """Switch it off, and end what runs under it."""
        self._event.clear()
        scope, self._scope = self._scope, None
        if scope is not None:
            scope.reschedule(asyncio.get_running_loop().time())

    async def wait(self) -> None:
        """Wait until it is on."""
        await self._event.wait()

    async def run(self, running: Coroutine[None, None, None]) -> bool:
        """Run the coroutine as long as it is on; return whether it is on at the end."""
        if not self:
            running.close()
            return False
        scope = self._scope = asyncio.timeout(None)
        try:
            async with scope:
                await running
        except TimeoutError:
            if not scope.expired():
                raise
        finally:
            self._scope = None
        return bool(self)
