"""Our own HTTP/1.1 client against a raw server that does what servers should not, on both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import socket
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.upstream import origin
from router.upstream.base import Exchange
from router.upstream.connection import HIGH_WATER_BYTES, Connection
from router.upstream.http import HttpUpstream
from tests.support import peer
from tests.support.loops import on_both_loops
from tests.support.peer import Play, always, gone, serving
from tests.support.sockets import refusing_port, silent_port

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


async def settled(true: Callable[[], bool], within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def post(one: HttpUpstream, url: str, body: bytes | None = b"{}", connect_s: float = 5.0) -> Exchange:
    async with asyncio.timeout(10):
        return await one.send("POST", url, headers={"X-Test": "1"}, body=body, connect_s=connect_s, within_s=60)


async def ask(one: HttpUpstream, url: str) -> bytes:
    exchange = await post(one, url)
    async with asyncio.timeout(10):
        body = await exchange.read()
    exchange.close()
    return body


async def stream(exchange: Exchange, within_s: float = 5.0) -> list[bytes]:
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


# --- what is sent


@on_both_loops
async def test_a_request_is_sent_with_these_headers_and_no_others() -> None:
    async with serving(always) as server, client() as one:
        await ask(one, server.url)
        host = server.url.split("/")[2]
        await (await post(one, server.url + "?a=b%20c", body=None)).read()
        await (await one.send("GET", f"http://{host}", headers={}, body=None, connect_s=5, within_s=60)).read()
        common = "Accept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: smallfirst\r\n"
        assert [request.decode() for request in server.connections[0].requests] == [
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n{common}X-Test: 1\r\nContent-Length: 2\r\n\r\n{{}}",
            f"POST /v1/chat/completions?a=b%20c HTTP/1.1\r\nHost: {host}\r\n{common}X-Test: 1\r\nContent-Length: 0\r\n\r\n",  # noqa: E501
            f"GET / HTTP/1.1\r\nHost: {host}\r\n{common}\r\n",
        ]


@on_both_loops
async def test_ipv6_and_no_delay() -> None:
    server = peer.Server(always)
    try:
        listener = await asyncio.start_server(server.serve, "::1", 0)
    except OSError:
        pytest.skip("no IPv6 here")
    port = listener.sockets[0].getsockname()[1]
    async with client() as one:
        exchange: Any = await post(one, f"http://[::1]:{port}/v1")
        handle = exchange._connection._transport.get_extra_info("socket")
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert f"Host: [::1]:{port}\r\n".encode() in server.connections[0].requests[0]
        assert await exchange.read() == b"whole"
    listener.close()
    await server.close()


@on_both_loops
async def test_no_delay_for_a_name_too() -> None:
    async with serving(always) as server, client() as one:
        exchange: Any = await post(one, server.url.replace("127.0.0.1", "localhost"))
        handle = exchange._connection._transport.get_extra_info("socket")
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await exchange.read()


@pytest.mark.parametrize("url", ["", "ftp://a/b", "http://", "http://a b/", "http://a/ü", "http://a:99999/", "unix:x"])
@on_both_loops
async def test_what_is_no_url_is_refused(url: str) -> None:
    async with client() as one:
        with pytest.raises(UpstreamFailed):
            await post(one, url)


# --- bodies


@pytest.mark.parametrize(
    ("raw", "status", "body", "kept"),
    [
        (OK + b"content-length: 3\r\n\r\nabc", 200, b"abc", True),
        (OK + b"Content-Length: 0\r\n\r\n", 200, b"", True),
        (OK + b"content-length: 3\r\nx-empty:\r\nx-twice: 1\r\nx-twice: 2\r\n\r\nabc", 200, b"abc", True),
        (b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\na", 200, b"a", True),
        (CHUNKED + b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", 200, b"abc", True),
        (CHUNKED + b'3;name="a value"\r\nabc\r\n0;x\r\nX-Trailer: 1\r\ncontent-encoding: gzip\r\n\r\n', 200, b"abc", True),  # noqa: E501
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: x\r\n\r\n" + OK + b"content-length: 1\r\n\r\na", 200, b"a", True),  # noqa: E501
        (b"HTTP/1.1 103 E\r\ncontent-encoding: gzip\r\n\r\n" + OK + b"content-length: 1\r\n\r\na", 200, b"a", True),
        (OK + b"content-length: 3\r\n\r\nabc\r\n", 200, b"abc", True),
        (OK + b"content-encoding: identity\r\ncontent-length: 3\r\n\r\nabc", 200, b"abc", True),
        (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\nabc", 200, b"abc", True),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc", 200, b"abc", False),
        (OK + b"connection: close\r\ncontent-length: 3\r\n\r\nabc", 200, b"abc", False),
        (OK + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, b"abc", False),
        (OK + b"content-length: 3\r\n\r\nabcd", 200, b"abc", False),
        (OK + b"content-length: 3\r\n\r\nabc" + OK + b"content-length: 1\r\n\r\nx", 200, b"abc", False),
        (CHUNKED + b"3\r\nabc\r\n0\r\n\r\nHTTP", 200, b"abc", False),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nabc", 204, b"", False),
        (OK + b"content-length: 0\r\n\r\n" + b"x" * 70_000, 200, b"", False),
    ],
    ids=lambda value: repr(value[:60]) if isinstance(value, bytes) else None,
)  # fmt: skip
@on_both_loops
async def test_an_answer(raw: bytes, status: int, body: bytes, kept: bool) -> None:
    async with serving(says(raw, then=always), always) as server, client() as one:
        exchange = await post(one, server.url)
        assert (exchange.status, await exchange.read()) == (status, body)
        assert await ask(one, server.url) == b"whole"
        assert len(server.connections) == (1 if kept else 2)


@pytest.mark.parametrize("raw", [OK + b"\r\nabc", b"HTTP/1.0 200 OK\r\n\r\nabc", OK + b"connection: close\r\n\r\nabc"])
@on_both_loops
async def test_a_body_that_ends_with_its_connection(raw: bytes) -> None:
    async with serving(says(raw, close=True)) as server, client() as one:
        assert await ask(one, server.url) == b"abc"
        assert await stream(await post(one, server.url.replace("/v1", "/v2"))) == []
        assert len(server.connections) == 2


@on_both_loops
async def test_a_body_without_length_that_is_reset_broke_off() -> None:
    async def play(connection: peer.Connection) -> None:
        await connection.request()
        await connection.send(OK + b"\r\nabc")
        await asyncio.sleep(0.05)
        connection.writer.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
        )
        connection.writer.transport.abort()

    async with serving(play) as server, client() as one:
        exchange = await post(one, server.url)
        with pytest.raises(UpstreamFailed, match="broke off"):
            await exchange.read()


@on_both_loops
async def test_an_answer_in_single_bytes() -> None:
    raw = CHUNKED + b"9;x=y\r\ndata: \xe2\x82\xac\r\n" + b"e\r\n\n\ndata: a\ndata\r\n5\r\n: b\n\n\r\n0\r\nT: 1\r\n\r\n"

    async def play(connection: peer.Connection) -> None:
        await connection.request()
        for byte in raw:
            await connection.send(bytes([byte]))
            await asyncio.sleep(0)

    async with serving(play) as server, client() as one:
        assert await stream(await post(one, server.url)) == ["€".encode(), b"a\nb"]
        assert idle_connections(one) == 1


@on_both_loops
async def test_a_large_answer_in_both_framings() -> None:
    block = b"x" * 100_000

    async def play(connection: peer.Connection) -> None:
        await connection.request()
        await connection.send(CHUNKED)
        for _ in range(50):
            await connection.chunk(block)
        await connection.send(b"0\r\n\r\n")
        await connection.request()
        await connection.answer(block * 50)

    async with serving(play) as server, client() as one:
        for _ in range(2):
            assert await ask(one, server.url) == block * 50
        assert len(server.connections) == 1


PACKED = [(b"gzip", gzip.compress), (b"X-GZIP", gzip.compress), (b"deflate", zlib.compress)]


@pytest.mark.parametrize(("coding", "pack"), PACKED)
@on_both_loops
async def test_an_answer_that_was_compressed_unasked_for(coding: bytes, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"data: 1\n\ndata: 2\n\n")
    head = OK + b"content-encoding: " + coding + b"\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in packed) + b"0\r\n\r\n"
    async with serving(says(head + chunks), says(head + chunks)) as server, client() as one:
        assert await ask(one, server.url) == b"data: 1\n\ndata: 2\n\n"
    async with serving(says(head + chunks)) as server, client() as one:
        assert await stream(await post(one, server.url)) == [b"1", b"2"]


@pytest.mark.parametrize("spoil", [lambda packed: packed[:-9], lambda packed: packed + gzip.compress(b"more")])
@on_both_loops
async def test_a_compressed_answer_that_is_cut_or_has_more(spoil: Callable[[bytes], bytes]) -> None:
    packed = spoil(gzip.compress(b"whole" * 100))
    head = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    async with serving(says(head + packed)) as server, client() as one:
        with pytest.raises(UpstreamFailed, match="cannot be unpacked"):
            await ask(one, server.url)


@on_both_loops
async def test_an_answer_that_unpacks_without_end_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.upstream.response.MAX_BODY_BYTES", 1000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in gzip.compress(b"x" * 100_000))
    head = OK + b"content-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving(says(head + chunks + b"0\r\n\r\n")) as server, client() as one:
        with pytest.raises(UpstreamFailed, match="longer than 1000 bytes"):
            await ask(one, server.url)


@on_both_loops
async def test_an_answer_that_unpacks_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.upstream.response.MAX_BODY_BYTES", 1000)
    packed = gzip.compress(b"x" * 100_000)
    head = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(packed)
    async with serving(says(head + packed)) as server, client() as one:
        with pytest.raises(UpstreamFailed, match="longer than 1000 bytes"):
            await ask(one, server.url)


# --- what is no answer: said at once, though the server keeps the connection open


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", "no HTTP/1.1"),
        (b"<html>it works</html>", "no HTTP/1.1"),
        (b"\x15\x03\x03\x00\x02\x02\x50", "no HTTP/1.1"),
        (b"HTTP/0.9 200 OK\r\ncontent-length: 1\r\n\r\na", "no HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\ncontent-length: 1\r\n\r\na", "no HTTP/1.1"),
        (b"HTTP/1.1 007 Bond\r\ncontent-length: 1\r\n\r\na", "no HTTP/1.1"),
        (b"HTTP/1.1 20000 OK\r\n\r\n", "no HTTP/1.1"),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nabc", "no HTTP/1.1"),
        (OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", "no HTTP/1.1"),
        (OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd", "no HTTP/1.1"),
        (OK + b"content-length: -1\r\n\r\n", "no HTTP/1.1"),
        (OK + b"content-length: " + b"9" * 40 + b"\r\n\r\n", "no HTTP/1.1"),
        (OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer coding .*: gzip, chunked"),
        (OK + b"transfer-encoding: gzip\r\n\r\nabc", "transfer coding .*: gzip"),
        (OK + b"content-encoding: br\r\ncontent-length: 3\r\n\r\nabc", "content encoding .*: br"),
        (OK + b"Content-Encoding: GZIP\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "cannot be unpacked"),
        (CHUNKED + b"f" * 17 + b"\r\n", "no HTTP/1.1"),
        (CHUNKED + b"-1\r\na\r\n", "no HTTP/1.1"),
        (CHUNKED + b"1\r\nab\r\n", "no HTTP/1.1"),
        (OK + b"x: " + b"y" * 70_000, "65536 bytes of headers"),
        (OK + b"x: " + b"y" * 70_000 + b"\r\ncontent-length: 1\r\n\r\na", "65536 bytes of headers"),
        (OK + b"x: y\r\n" * 30_000, "65536 bytes of headers"),
        (OK + b"\r\n".join(b"%d: y" % n for n in range(8_000)), "65536 bytes of headers"),
        (b"HTTP/1.1 200 " + b"y" * 70_000, "65536 bytes of headers"),
        (b"HTTP/1.1 102 Processing\r\n\r\n" * 3_000, "65536 bytes of headers"),
        (b"\r\n" * 40_000, "65536 bytes of headers"),
        (CHUNKED + b"1;" + b"y" * 70_000, "65536 bytes of headers"),
        (CHUNKED + b"0\r\nx: " + b"y" * 70_000, "65536 bytes of headers"),
        (CHUNKED + b"0\r\n" + b"x: y\r\n" * 30_000, "65536 bytes of headers"),
    ],
    ids=lambda value: repr(value[:60] + value[-10:]) if isinstance(value, bytes) else None,
)  # fmt: skip
@on_both_loops
async def test_no_answer(raw: bytes, match: str) -> None:
    async with serving(says(raw), always) as server, client() as one:
        with pytest.raises(UpstreamFailed, match=match) as caught:
            await ask(one, server.url)
        assert caught.value.code == "upstream_error"
        await gone(server.connections[0])
        assert await ask(one, server.url) == b"whole"


@on_both_loops
async def test_what_came_before_the_break_is_still_an_event() -> None:
    raw = CHUNKED + b"9\r\ndata: 1\n\n\r\nnonsense"
    async with serving(says(raw)) as server, client() as one:
        exchange = await post(one, server.url)
        assert await exchange.next_events(5) == [b"1"]
        for _ in range(2):
            with pytest.raises(UpstreamFailed, match="no HTTP"):
                await exchange.next_events(5)


@pytest.mark.parametrize(
    "raw", [OK + b"content-length: 9\r\n\r\nabc", CHUNKED + b"9\r\nabc", CHUNKED + b"3\r\nabc\r\n"]
)
@on_both_loops
async def test_a_body_cut_short(raw: bytes) -> None:
    async with serving(says(raw, close=True)) as server, client() as one:
        with pytest.raises(UpstreamFailed, match="broke off"):
            await ask(one, server.url)


# --- an answer before its request was sent


@on_both_loops
async def test_an_early_answer() -> None:
    async def play(connection: peer.Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await connection.answer(b"too large", status="413 Too Large")

    async with serving(play, always) as server, client() as one:
        exchange = await post(one, server.url, body=b"x" * 20_000_000)
        assert (exchange.status, await exchange.read()) == (413, b"too large")
        assert (open_connections(one), idle_connections(one)) == (0, 0), "half a request is on its way"
        assert await ask(one, server.url) == b"whole"


@on_both_loops
async def test_an_end_before_the_request_was_sent() -> None:
    async def play(connection: peer.Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        connection.writer.write_eof()

    async with serving(play) as server, client() as one:
        with pytest.raises(UpstreamFailed, match="without an answer"):
            await post(one, server.url, body=b"x" * 20_000_000)


# --- connections are used again


@on_both_loops
async def test_the_last_one_in_is_the_first_one_out() -> None:
    release = asyncio.Event()

    async def play(connection: peer.Connection) -> None:
        while True:
            await connection.request()
            await release.wait()
            await connection.answer(b"%d" % server.connections.index(connection))

    async with serving(play) as server, client() as one:
        asking = [asyncio.ensure_future(ask(one, server.url)) for _ in range(3)]
        await settled(lambda: sum(bool(connection.requests) for connection in server.connections) == 3)
        release.set()
        await asyncio.gather(*asking)
        assert (open_connections(one), idle_connections(one)) == (3, 3)
        assert len({await ask(one, server.url) for _ in range(5)}) == 1
        assert sorted(len(connection.requests) for connection in server.connections) == [1, 1, 6]


@on_both_loops
async def test_there_is_no_limit_on_connections() -> None:
    release = asyncio.Event()

    async def play(connection: peer.Connection) -> None:
        while True:
            await connection.request()
            await release.wait()
            await connection.answer()

    async with serving(play) as server, client() as one:
        asking = [asyncio.ensure_future(ask(one, server.url)) for _ in range(150)]
        await settled(lambda: sum(bool(connection.requests) for connection in server.connections) == 150)
        release.set()
        assert await asyncio.gather(*asking) == [b"{}"] * 150
        assert idle_connections(one) == 150


@on_both_loops
async def test_all_urls_of_a_server_share_its_connections() -> None:
    async with serving(always) as server, client() as one:
        for path in ("/v1/a", "/v1/b?c", "/health"):
            await ask(one, server.url.replace("/v1/chat/completions", path))
        assert len(server.connections) == 1


@on_both_loops
async def test_idle_connections_are_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "KEEPALIVE_S", 0.5)
    async with serving(always) as server, client() as one:
        await asyncio.gather(*(ask(one, server.url) for _ in range(5)))
        await asyncio.sleep(0.3)
        await ask(one, server.url)
        await asyncio.sleep(0.3)
        assert idle_connections(one) == 1, "the one that was used since"
        await settled(lambda: open_connections(one) == 0)
        for connection in server.connections:
            await gone(connection)
        await ask(one, server.url)
        await settled(lambda: open_connections(one) == 0)


@on_both_loops
async def test_an_idle_connection_that_is_too_old_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(always) as server, client() as one:
        await asyncio.gather(*(ask(one, server.url) for _ in range(5)))
        monkeypatch.setattr(origin, "KEEPALIVE_S", 0.0)  # the sweep is still far
        await ask(one, server.url)
        assert (len(server.connections), open_connections(one)) == (6, 1)


@pytest.mark.parametrize("raw", [b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n", b"x", b"\r\n"])
@on_both_loops
async def test_an_idle_connection_on_which_something_came_is_not_used_again(raw: bytes) -> None:
    async def play(connection: peer.Connection) -> None:
        await connection.request()
        await connection.answer()
        await asyncio.sleep(0.02)
        await connection.send(raw)

    async with serving(play, always) as server, client() as one:
        await ask(one, server.url)
        await settled(lambda: open_connections(one) == 0)
        await gone(server.connections[0])
        assert await ask(one, server.url) == b"whole"


@on_both_loops
async def test_close_closes_those_in_use_too() -> None:
    async with serving(says(CHUNKED), always) as server, client() as one:
        waiting = asyncio.ensure_future((await post(one, server.url)).next_events(10))
        await ask(one, server.url)
        await asyncio.sleep(0)
        await one.close()
        with pytest.raises(UpstreamFailed):
            await waiting
        for connection in server.connections:
            await gone(connection)
        assert await ask(one, server.url) == b"whole", "it may be used again"


@on_both_loops
async def test_a_connection_that_comes_after_the_close_is_not_kept() -> None:
    async with serving(always) as server, client() as one:
        asking = asyncio.ensure_future(ask(one, server.url))
        await asyncio.sleep(0)
        place = next(iter(one._origins.values()))
        await one.close()
        assert await asking == b"whole"
        assert (place.open, place.idle) == (0, 0)


@on_both_loops
async def test_a_whole_answer_that_was_not_read_keeps_its_connection() -> None:
    async with serving(says(CHUNKED + b"9\r\ndata: 1\n\n\r\n0\r\n\r\n", then=always)) as server, client() as one:
        exchange = await post(one, server.url)
        exchange.close()
        assert await ask(one, server.url) == b"whole"
        exchange.close()
        assert len(server.connections) == 1


@on_both_loops
async def test_an_exchange_that_is_over_touches_its_connection_no_more() -> None:
    """It may serve another request by then."""
    async with serving(says(OK + b"content-length: 3\r\n\r\nabc", then=says(CHUNKED))) as server, client() as one:
        first = await post(one, server.url)
        second = await post(one, server.url)
        assert len(server.connections) == 1
        first.close()
        assert await first.read() == b"abc"
        await server.connections[0].chunk(b"data: 1\n\n")
        assert await second.next_events(5) == [b"1"]
        second.close()
        second.close()
        with pytest.raises(UpstreamFailed):
            await second.next_events(5)


# --- a kept connection that died


@pytest.fixture
def _idle_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every connection that is used again had been idle for long."""
    monkeypatch.setattr("router.upstream.http.IDLE_LONG_S", -1.0)


def reset(connection: peer.Connection) -> None:
    handle = connection.writer.transport.get_extra_info("socket")
    handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.writer.transport.abort()


def dies_on_the_second(how: Callable[[peer.Connection], None], before: bytes = b"") -> Play:
    async def play(connection: peer.Connection) -> None:
        await connection.request()
        await connection.answer(b"first")
        await connection.request()
        if before:
            await connection.send(before)
        how(connection)

    return play


HOW = pytest.mark.parametrize("how", [lambda connection: connection.writer.close(), reset], ids=["end", "reset"])


@HOW
@pytest.mark.usefixtures("_idle_long")
@on_both_loops
async def test_it_is_asked_once_more_on_a_new_one(how: Callable[[peer.Connection], None]) -> None:
    async with serving(dies_on_the_second(how), always) as server, client() as one:
        assert await ask(one, server.url) == b"first"
        assert await ask(one, server.url) == b"whole"
        first, second = server.connections
        assert first.requests[1:] == second.requests


@HOW
@pytest.mark.usefixtures("_idle_long")
@on_both_loops
async def test_once_only(how: Callable[[peer.Connection], None]) -> None:
    async def dies(connection: peer.Connection) -> None:
        await connection.request()
        how(connection)

    async with serving(dies_on_the_second(how), dies) as server, client() as one:
        assert await ask(one, server.url) == b"first"
        with pytest.raises(UpstreamFailed) as caught:
            await post(one, server.url)
        assert caught.value.code == "upstream_error"
        assert len(server.connections) == 2


@pytest.mark.usefixtures("_idle_long")
@on_both_loops
async def test_on_a_new_one_even_if_more_are_kept() -> None:
    """The server was restarted: all that are kept are dead."""

    async def play(connection: peer.Connection) -> None:
        await connection.request()
        await connection.answer()
        await connection.request()
        connection.writer.close()

    async with serving(play, play, play, always) as server, client() as one:
        await asyncio.gather(*(ask(one, server.url) for _ in range(3)))
        assert await ask(one, server.url) == b"whole"


@HOW
@pytest.mark.parametrize("before", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n"])
@pytest.mark.usefixtures("_idle_long")
@on_both_loops
async def test_not_when_anything_had_come(how: Callable[[peer.Connection], None], before: bytes) -> None:
    async def waits(connection: peer.Connection) -> None:
        await play(connection)

    play = dies_on_the_second(how, before)
    async with serving(waits, always) as server, client() as one:
        assert await ask(one, server.url) == b"first"
        if how is reset:  # what came before is lost with it if the client had no time to read it
            return
        with pytest.raises(UpstreamFailed):
            await post(one, server.url)
        assert len(server.connections) == 1


@pytest.mark.usefixtures("_idle_long")
@on_both_loops
async def test_when_nobody_listens_any_more_it_is_unreachable() -> None:
    one = HttpUpstream()
    server = peer.Server(dies_on_the_second(lambda connection: connection.writer.close()))
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    assert await ask(one, url) == b"first"
    listener.close()
    with pytest.raises(UpstreamFailed) as caught:
        await post(one, url)
    assert caught.value.code == "upstream_unreachable"
    await one.close()
    await server.close()


@pytest.mark.usefixtures("_idle_long")
@on_both_loops
async def test_not_when_the_server_worked_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.upstream.http.AT_ONCE_S", 0.05)

    async def works_and_dies(connection: peer.Connection) -> None:
        await connection.request()
        await connection.answer(b"first")
        await connection.request()
        await asyncio.sleep(0.2)
        connection.writer.close()

    async with serving(works_and_dies, always) as server, client() as one:
        assert await ask(one, server.url) == b"first"
        with pytest.raises(UpstreamFailed):
            await post(one, server.url)
        assert len(server.connections) == 1


@HOW
@on_both_loops
async def test_one_that_dies_right_after_an_answer_may_have_died_of_the_request(
    how: Callable[[peer.Connection], None],
) -> None:
    async with serving(dies_on_the_second(how), always) as server, client() as one:
        assert await ask(one, server.url) == b"first"
        with pytest.raises(UpstreamFailed):
            await post(one, server.url)
        assert len(server.connections) == 1


# --- connecting


@on_both_loops
async def test_unreachable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with refusing_port() as port, silent_port() as silent:
        async with client() as one:
            for url in (
                f"http://127.0.0.1:{port}/v1",
                f"http://localhost:{port}/v1",
                f"http://127.0.0.1:{silent}/v1",
                "http://nobody.invalid/v1",
                f"http://{'a' * 64}.invalid/v1",
                f"unix:{tmp_path / 'nobody.sock'}:/v1",
                f"unix:{tmp_path / 'file'}:/v1",
                f"unix:{tmp_path / ('x' * 200)}:/v1",
            ):
                with pytest.raises(UpstreamFailed) as caught:
                    await post(one, url, connect_s=0.3)
                assert caught.value.code == "upstream_unreachable", url


@on_both_loops
async def test_the_time_to_connect_is_no_time_to_answer() -> None:
    async def slow(connection: peer.Connection) -> None:
        await connection.request()
        await asyncio.sleep(0.2)
        await connection.answer(b"late")

    async with serving(slow) as server, client() as one:
        exchange = await post(one, server.url, connect_s=0.1)
        assert await exchange.read() == b"late"


@on_both_loops
async def test_a_unix_socket_with_any_name(tmp_path: Path) -> None:
    for name in ("a b.sock", "a:b", "ü"):
        async with serving(always, path=tmp_path / name) as server, client() as one:
            for _ in range(2):
                assert await ask(one, server.url) == b"whole"
            assert len(server.connections) == 1
        (tmp_path / name).unlink(missing_ok=True)


@on_both_loops
async def test_every_address_of_a_name_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups: list[str] = []
    with refusing_port() as refused, silent_port() as silent:
        async with serving(always) as server, client() as one:
            good = int(server.url.split(":")[2].split("/")[0])

            async def getaddrinfo(_: Any, host: str, port: int, **__: Any) -> list[Any]:
                kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
                if host == "127.0.0.1":  # uvloop looks up addresses too
                    return [(*kind, (host, port))]
                lookups.append(f"{host}:{port}")
                return [(*kind, ("127.0.0.1", port)) for port in (refused, silent, good)]

            monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo)
            for _ in range(2):
                assert await ask(one, "http://upstream.example:81/v1") == b"whole"
                await one.close()
            assert len(server.connections) == 2
            assert lookups == ["upstream.example:81"] * 2
            assert b"Host: upstream.example:81\r\n" in server.connections[0].requests[0]


@on_both_loops
async def test_a_name_holds_for_some_seconds_unless_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = 0
    look_up = asyncio.get_running_loop().getaddrinfo

    async def counted(_: Any, host: str, *args: Any, **options: Any) -> Any:
        nonlocal lookups
        lookups += host == "localhost"
        return await look_up(host, *args, **options)

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", counted)
    async with serving(says(OK + b"connection: close\r\ncontent-length: 1\r\n\r\na")) as server, client() as one:
        for _ in range(3):
            assert await ask(one, server.url.replace("127.0.0.1", "localhost")) == b"a"
        assert (len(server.connections), lookups) == (3, 1)
    with refusing_port() as port:
        async with client() as one:
            for _ in range(3):
                with pytest.raises(UpstreamFailed):
                    await ask(one, f"http://localhost:{port}/v1")
    assert lookups == 4


# --- a reader slower than the server


@on_both_loops
async def test_a_slow_reader_stops_the_server() -> None:
    sent = 0

    async def play(connection: peer.Connection) -> None:
        nonlocal sent
        connection.writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        await connection.request()
        await connection.begin_stream()
        while True:
            await connection.chunk(b"data: " + b"x" * 10_000 + b"\n\n")
            sent += 10_000

    async with serving(play) as server, client() as one:
        exchange: Any = await post(one, server.url)
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < 16_000_000, "what sockets hold"
        assert exchange._response.unread <= 2 * HIGH_WATER_BYTES, "and one read more"
        got = 0
        while got < before + 1_000_000:
            got += sum(map(len, await exchange.next_events(5)))
        exchange.close()
        await gone(server.connections[0])


@on_both_loops
async def test_an_end_behind_what_a_slow_reader_left_is_seen() -> None:
    body = b"x" * 2_000_000
    async with serving(says(OK + b"content-length: 2000000\r\n\r\n" + body, then=always)) as server, client() as one:
        exchange = await post(one, server.url)
        await asyncio.sleep(0.1)
        assert await exchange.read() == body
        assert await ask(one, server.url) == b"whole"
        assert len(server.connections) == 1


# --- time limits


async def late(one: HttpUpstream, url: str) -> None:
    exchange = await one.send("POST", url, headers={}, body=b"{}", connect_s=5, within_s=0.05)
    try:
        await exchange.read()
    finally:
        exchange.close()


@pytest.mark.parametrize("begun", [b"", OK + b"content-length: 2\r\n\r\nx"])
@on_both_loops
async def test_a_whole_answer_that_is_late(begun: bytes) -> None:
    async def play(connection: peer.Connection) -> None:
        await connection.request()
        await connection.send(begun)
        await asyncio.sleep(30)

    async with serving(play) as server, client() as one, asyncio.timeout(5):
        with pytest.raises(UpstreamTimedOut):
            await late(one, server.url)
        await settled(lambda: open_connections(one) == 0)


@pytest.fixture
def timers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times at which timers are set."""
    set_at: list[float] = []
    setter = Connection._set_timer

    def noted(self: Connection, at: float) -> None:
        set_at.append(at)
        setter(self, at)

    monkeypatch.setattr(Connection, "_set_timer", noted)
    return set_at


@on_both_loops
async def test_a_stream_needs_one_timer(timers: list[float]) -> None:
    async def play(connection: peer.Connection) -> None:
        while True:
            await connection.request()
            await connection.begin_stream()
            for n in range(50):
                await connection.chunk(b"data: %d\n\n" % n)
                await asyncio.sleep(0.001)
            await connection.send(b"0\r\n\r\n")

    async with serving(play) as server, client() as one:
        for _ in range(3):
            assert len(await stream(await post(one, server.url), 20)) == 50
        assert len(timers) == 2, "one for headers, an earlier one for events"


@on_both_loops
async def test_the_timer_goes_on_for_the_rest(timers: list[float]) -> None:
    async def play(connection: peer.Connection) -> None:
        await connection.request()
        await connection.begin_stream()
        for n in range(6):
            await asyncio.sleep(0.1)
            await connection.chunk(b"data: %d\n\n" % n)

    async with serving(play) as server, client() as one:
        exchange = await post(one, server.url)
        for n in range(6):
            assert await exchange.next_events(0.5) == [b"%d" % n]
        loop = asyncio.get_running_loop()
        start = loop.time()
        with pytest.raises(UpstreamTimedOut):
            await exchange.next_events(0.5)
        assert 0.49 < loop.time() - start < 2
        assert len(timers) <= 6
        exchange.close()


@on_both_loops
async def test_an_earlier_deadline_is_kept() -> None:
    async with serving(says(CHUNKED + b"9\r\ndata: 1\n\n\r\n")) as server, client() as one:
        exchange = await post(one, server.url)
        assert await exchange.next_events(100) == [b"1"]
        waiting = asyncio.ensure_future(exchange.next_events(100))
        await asyncio.sleep(0.01)
        await server.connections[0].chunk(b"data: 2\n\n")
        assert await waiting == [b"2"]
        async with asyncio.timeout(5):
            with pytest.raises(UpstreamTimedOut):
                await exchange.next_events(0.05)
        await server.connections[0].chunk(b"data: 3\n\n")
        assert await exchange.next_events(5) == [b"3"], "a timeout ends no exchange: whoever asked closes it"
        exchange.close()


@on_both_loops
async def test_a_timer_of_an_answer_before_does_not_end_the_next(timers: list[float]) -> None:
    async def play(connection: peer.Connection) -> None:
        await connection.request()
        await connection.begin_stream()
        await asyncio.sleep(0.02)
        await connection.chunk(b"data: 1\n\n")
        await connection.send(b"0\r\n\r\n")
        await connection.request()
        await asyncio.sleep(0.6)
        await connection.answer(b"whole")

    async with serving(play) as server, client() as one:
        assert await stream(await post(one, server.url), 0.5) == [b"1"]
        assert await ask(one, server.url) == b"whole"
        assert len(timers) <= 4


@on_both_loops
async def test_what_has_come_is_returned_without_suspending() -> None:
    async with serving(says(CHUNKED + b"9\r\ndata: 1\n\n\r\n0\r\n\r\n")) as server, client() as one:
        for within_s in (5.0, 0.0, -1.0):
            exchange = await post(one, server.url)
            events = exchange.next_events(within_s)
            with pytest.raises(StopIteration) as returned:
                events.send(None)  # type: ignore[attr-defined]
            assert returned.value.value == [b"1"]
            await one.close()


# --- one who leaves


async def whole(one: HttpUpstream, url: str) -> None:
    exchange = await one.send("POST", url, headers={}, body=b"{}", connect_s=5, within_s=60)
    try:
        assert await exchange.read() == b"data: 1\n\ndata: 2\n\n"
    finally:
        exchange.close()


async def streamed(one: HttpUpstream, url: str) -> None:
    exchange = await one.send("POST", url, headers={}, body=b"{}", connect_s=5, within_s=60)
    try:
        assert await stream(exchange) == [b"1", b"2"]
    finally:
        exchange.close()


async def in_pieces(connection: peer.Connection) -> None:
    while True:
        await connection.request()
        for piece in (CHUNKED, b"9\r\ndata: 1\n\n\r\n", b"9\r\ndata: 2", b"\n\n\r\n", b"0\r\n", b"\r\n"):
            await connection.send(piece)
            for _ in range(3):
                await asyncio.sleep(0)


@pytest.mark.parametrize("what", [whole, streamed])
@pytest.mark.parametrize("where", ["address", "name", "socket", "kept"])
@on_both_loops
async def test_at_any_moment(what: Callable[[HttpUpstream, str], Awaitable[None]], where: str, tmp_path: Path) -> None:
    """Cancel after one round of the loop, after two, ... until it was too late to."""
    async with serving(in_pieces, path=tmp_path / "s" if where == "socket" else None) as server, client() as one:
        url = server.url.replace("127.0.0.1", "localhost") if where == "name" else server.url
        left = 0
        for rounds in range(2000):
            if where == "kept":
                await what(one, url)
            task = asyncio.ensure_future(what(one, url))
            for _ in range(rounds):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                left += 1
            await settled(lambda: open_connections(one) == idle_connections(one))
            if task.done() and not task.cancelled():
                break
            if rounds > 60:  # a name is looked up in a thread
                await asyncio.sleep(0.001)
        assert left > 8
        await what(one, url)
        await settled(lambda: sum(not connection.gone.is_set() for connection in server.connections) == 1)


@on_both_loops
async def test_while_connecting() -> None:
    with silent_port() as port:
        async with client() as one:
            for host in ("127.0.0.1", "localhost"):
                task = asyncio.ensure_future(post(one, f"http://{host}:{port}/v1"))
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert open_connections(one) == 0


@pytest.mark.parametrize("where", ["headers", "body", "events"])
@on_both_loops
async def test_while_waiting_for(where: str) -> None:
    async def play(connection: peer.Connection) -> None:
        await connection.request()
        if where != "headers":
            await connection.begin_stream()

    async def ask_and_leave_open() -> None:
        exchange = await post(one, server.url)
        await (exchange.read() if where == "body" else exchange.next_events(50))

    async with serving(play) as server, client() as one:
        task = asyncio.ensure_future(ask_and_leave_open())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone(server.connections[0])


# --- what it costs


@on_both_loops
async def test_a_request_leaves_no_garbage() -> None:
    """What refers to itself stays until the collector stops the world for it."""
    async with serving(always) as server, client() as one:
        await ask(one, server.url)
        exchange: Any = await post(one, server.url)
        await exchange.read()
        gc.collect()
        gc.disable()
        try:
            parser = type(exchange._response._parser)
            before = sum(isinstance(thing, parser) for thing in gc.get_objects())
            for _ in range(20):
                await ask(one, server.url)
            assert sum(isinstance(thing, parser) for thing in gc.get_objects()) - before <= 1
        finally:
            gc.enable()


def test_aiohttp_is_not_imported_at_the_start() -> None:
    code = "import sys, router.upstream.http; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
