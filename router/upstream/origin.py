"""Where requests go: the connections to one server, and how to make another."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, cast

from router.errors import UpstreamFailed
from router.upstream.connection import Connection

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

KEEPALIVE_S = 4.0  # vLLM closes what was idle for 5 s; a request must not meet that on its way
NAME_HOLDS_S = 10.0
NEXT_ADDRESS_S = 0.25  # RFC 8305's: how long an address has, until the next one is tried beside it
SHORTEST_SWEEP_S = 0.01

Address = str | tuple[str, int]
"""the path of a Unix socket, or host and port"""


class Origin:
    """No limit on connections. The idle ones are taken last in, first out: so the others grow old and are closed."""

    def __init__(self, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        self._address = address
        self._loop = loop
        self._open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # since when; the oldest first
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False
        self._resolved: Sequence[AddrInfoType] = ()
        self._resolved_until = 0.0

    @property
    def idle(self) -> int:
        """How many connections wait for a request."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """How many connections there are, idle ones among them."""
        return len(self._open)

    def time(self) -> float:
        """Return the loop's time, in which deadlines are."""
        return self._loop.time()

    def take(self) -> tuple[Connection | None, float]:
        """Return an idle connection that the server most likely still keeps, and for how many seconds it was idle."""
        now = self._loop.time()
        while self._idle:
            connection, since = self._idle.popitem()
            if now - since < KEEPALIVE_S and not connection.stale:
                return connection, now - since
            connection.drop()
        return None, 0.0

    async def connect(self, within_s: float) -> Connection:
        """Return a new connection.

        Raises:
            UpstreamFailed: there is no such server, or none that answers in time.
        """
        try:
            async with asyncio.timeout(within_s):
                connection = await self._connect()
        except (OSError, ValueError, RuntimeError) as error:  # no name, no path; uvloop's word for a lost connection
            self._resolved_until = 0.0
            raise UpstreamFailed("the upstream could not be reached", code="upstream_unreachable") from error
        if not connection.closing:
            self._open.add(connection)
        return connection

    def close(self) -> None:
        """Close every connection, and those that are still to come after their one answer."""
        self._closed = True
        for connection in tuple(self._open):
            connection.drop()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None

    def _keep(self, connection: Connection) -> None:
        if self._closed:
            connection.drop()
            return
        self._idle[connection] = self._loop.time()
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(KEEPALIVE_S, self._sweep)

    def _forget(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._open.discard(connection)

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = self._loop.time() - KEEPALIVE_S
        for connection, since in tuple(self._idle.items()):
            if since > oldest:
                self._sweeper = self._loop.call_later(max(since - oldest, SHORTEST_SWEEP_S), self._sweep)
                break
            connection.drop()

    def _new(self) -> Connection:
        return Connection(self._loop, self._keep, self._forget)

    async def _connect(self) -> Connection:
        if isinstance(self._address, str):
            return (await self._loop.create_unix_connection(self._new, self._address))[1]
        host, port = self._address
        if _literal(host):
            return (await self._loop.create_connection(self._new, host, port))[1]
        if self._loop.time() >= self._resolved_until:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._resolved = cast("Sequence[AddrInfoType]", found)
            self._resolved_until = self._loop.time() + NAME_HOLDS_S
        # uvloop's create_connection tries one address after the other, the next only when one has failed
        from aiohappyeyeballs import start_connection  # noqa: PLC0415 - takes time at the start, and few need it

        connected = await start_connection(self._resolved, happy_eyeballs_delay=NEXT_ADDRESS_S)
        return (await self._loop.create_connection(self._new, sock=connected))[1]


def _literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
