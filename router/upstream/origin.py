"""The pool of connections to one server."""

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

KEEPALIVE_S = 4.0  # below the 5 s after which vLLM closes an idle connection, so no request meets that
DNS_TTL_S = 10.0  # a resolved host name is cached for this long
HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305: then the next address is tried in parallel
MIN_SWEEP_DELAY_S = 0.01

Address = str | tuple[str, int]
"""The path of a Unix socket, or host and port."""


class Origin:
    """Has no limit on connections. Reuses idle ones last in, first out, so that surplus ones expire and are closed."""

    def __init__(self, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        self._address = address
        self._loop = loop
        self._open: set[Connection] = set()
        self._idle: dict[Connection, float] = {}  # to the time it became idle, oldest first
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._addresses: Sequence[AddrInfoType] = ()
        self._addresses_expire_at = 0.0

    @property
    def idle(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    @property
    def open(self) -> int:
        """The number of connections, including idle ones."""
        return len(self._open)

    def time(self) -> float:
        """Return the loop's time, the clock of every deadline."""
        return self._loop.time()

    def take_idle(self) -> tuple[Connection | None, float]:
        """Return an idle connection that is most likely still open, if any, and its idle time in seconds."""
        now = self._loop.time()
        while self._idle:
            connection, since = self._idle.popitem()
            if now - since < KEEPALIVE_S and not connection.stale:
                return connection, now - since
            connection.drop()
        return None, 0.0

    async def connect(self, within_s: float) -> Connection:
        """Open a new connection.

        Raises:
            UpstreamFailed: the server does not exist, or did not accept the connection in time.
        """
        try:
            async with asyncio.timeout(within_s):
                connection = await self._connect()
        except (OSError, ValueError, RuntimeError) as error:  # uvloop raises RuntimeError for a lost connection
            self._addresses_expire_at = 0.0
            raise UpstreamFailed("the upstream could not be reached", code="upstream_unreachable") from error
        if not connection.closing:
            self._open.add(connection)
        return connection

    def close(self) -> None:
        """Close every connection. One still being opened serves its request and is then closed."""
        self._closed = True
        for connection in tuple(self._open):
            connection.drop()
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
            self._sweep_timer = None

    def _add_idle(self, connection: Connection) -> None:
        if self._closed:
            connection.drop()
            return
        self._idle[connection] = self._loop.time()
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(KEEPALIVE_S, self._close_expired)

    def _remove(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        self._open.discard(connection)

    def _close_expired(self) -> None:
        self._sweep_timer = None
        oldest = self._loop.time() - KEEPALIVE_S
        for connection, since in tuple(self._idle.items()):
            if since > oldest:
                self._sweep_timer = self._loop.call_later(max(since - oldest, MIN_SWEEP_DELAY_S), self._close_expired)
                break
            connection.drop()

    def _new_connection(self) -> Connection:
        return Connection(self._loop, self._add_idle, self._remove)

    async def _connect(self) -> Connection:
        if isinstance(self._address, str):
            return (await self._loop.create_unix_connection(self._new_connection, self._address))[1]
        host, port = self._address
        if _is_ip_address(host):
            return (await self._loop.create_connection(self._new_connection, host, port))[1]
        if self._loop.time() >= self._addresses_expire_at:
            found = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._addresses = cast("Sequence[AddrInfoType]", found)
            self._addresses_expire_at = self._loop.time() + DNS_TTL_S
        # uvloop's create_connection tries addresses in sequence, each only after the previous one failed.
        from aiohappyeyeballs import start_connection  # noqa: PLC0415 - slow to import, rarely needed

        sock = await start_connection(self._addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY_S)
        return (await self._loop.create_connection(self._new_connection, sock=sock))[1]


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
