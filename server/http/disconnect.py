"""Is the client still there? Nobody pays for an answer unread."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.requests import ClientDisconnect
from starlette.types import Scope

_EXTENSION = "smallfirst.disconnect_watch"


class ClientDisconnected(ClientDisconnect):
    """The client left before its request was read or answered: nobody is there to be told."""


class DisconnectWatch:
    """Of the client of one connection. `with watch:` cancels what runs within when the client leaves.

    Raises:
        ClientDisconnected: it left.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop  # to look for the running one takes a system call
        self._is_gone = False
        self._tasks: set[asyncio.Task[object] | None] = set()
        self.extensions = {_EXTENSION: self}
        """for the scope of each of its requests"""

    def client_left(self) -> None:
        """Say that the client is gone; its connection does."""
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
    """Return the watch of a request's client."""
    watch: DisconnectWatch = scope["extensions"][_EXTENSION]
    return watch
