"""Our own HTTP/1.1 client as tests use it: opened, asked, and checked for what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from router.upstream.base import Exchange
from router.upstream.http import HttpUpstream
from tests.support import peer
from tests.support.peer import Play
from tests.support.waiting import PATIENCE_S

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[HttpUpstream]:
    """A client that holds no connection in the end but idle ones, and none when it is closed."""
    one = HttpUpstream()
    try:
        yield one
        await settled(lambda: open_connections(one) == idle_connections(one))
    finally:
        await one.close()
        assert not one._origins


def open_connections(one: HttpUpstream) -> int:
    return sum(place.open for place in one._origins.values())


def idle_connections(one: HttpUpstream) -> int:
    return sum(place.idle for place in one._origins.values())


async def settled(true: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def post(one: HttpUpstream, url: str, body: bytes | None = b"{}", connect_s: float = PATIENCE_S) -> Exchange:
    async with asyncio.timeout(PATIENCE_S):
        return await one.send("POST", url, headers={"X-Test": "1"}, body=body, connect_s=connect_s, within_s=60)


async def ask(one: HttpUpstream, url: str) -> bytes:
    exchange = await post(one, url)
    async with asyncio.timeout(PATIENCE_S):
        body = await exchange.read()
    exchange.close()
    return body


async def stream(exchange: Exchange, within_s: float = PATIENCE_S) -> list[bytes]:
    events: list[bytes] = []
    while batch := await exchange.next_events(within_s):
        events += batch
    return events


def says(raw: bytes, *, close: bool = False, then: Play | None = None) -> Play:
    async def play(connection: peer.Connection) -> None:
        await connection.request()
        await connection.send(raw)
        if close:
            connection.writer.close()
        elif then:
            await then(connection)

    return play
