"""Cancel a request when its client disconnects, so that no answer is paid for that nobody reads."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Scope

_EXTENSION = "smallfirst.disconnect_watch"


class ClientDisconnected(ClientDisconnect):
    """The client disconnected before its request was read or answered. No answer can be sent."""


class DisconnectWatch:
    """Watches the client of one connection. `with watch:` cancels the block when the client disconnects.

    Raises:
        ClientDisconnected: the client disconnected.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop  # asyncio.current_task() without it makes a system call to find the running loop
        self._is_gone = False
        self._tasks: set[asyncio.Task[object] | None] = set()
        self.extensions = {_EXTENSION: self}
        """the ASGI extensions for the scope of each request of this connection"""

    def client_left(self) -> None:
        """Cancel the requests under way. The connection calls this when it is lost."""
        self._is_gone = True
        for task in self._tasks:
            if task is not None:
                task.cancel()

    def __enter__(self) -> None:
        if self._is_gone:
            raise ClientDisconnected
        self._tasks.add(asyncio.current_task(self._loop))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task(self._loop)
        self._tasks.discard(task)
        if self._is_gone and task is not None and isinstance(error, asyncio.CancelledError):
            task.uncancel()
            raise ClientDisconnected from None


def cancel_on_disconnect(scope: Scope) -> DisconnectWatch:
    """Return a context manager that cancels its block when the client of this request disconnects."""
    watch: DisconnectWatch = scope["extensions"][_EXTENSION]
    return watch
