"""What our own HTTP/1.1 client sends, and answers that no server should give, on both event loops."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from router.errors import UpstreamFailed
from tests.support import peer
from tests.support.http_client import (
    CHUNKED,
    OK,
    ask,
    client,
    idle_connections,
    open_connections,
    post,
    says,
    stream,
)
from tests.support.loops import on_both_loops
from tests.support.peer import always, gone, serving

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
        with pytest.raises(UpstreamFailed, match="was cut off"):
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
        with pytest.raises(UpstreamFailed, match="could not decompress"):
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
        (b"SSH-2.0-OpenSSH_9\r\n", "not valid HTTP/1.1"),
        (b"<html>it works</html>", "not valid HTTP/1.1"),
        (b"\x15\x03\x03\x00\x02\x02\x50", "not valid HTTP/1.1"),
        (b"HTTP/0.9 200 OK\r\ncontent-length: 1\r\n\r\na", "not valid HTTP/1.1"),
        (b"HTTP/2.0 200 OK\r\ncontent-length: 1\r\n\r\na", "not valid HTTP/1.1"),
        (b"HTTP/1.1 007 Bond\r\ncontent-length: 1\r\n\r\na", "not valid HTTP/1.1"),
        (b"HTTP/1.1 20000 OK\r\n\r\n", "not valid HTTP/1.1"),
        (b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nabc", "not valid HTTP/1.1"),
        (OK + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", "not valid HTTP/1.1"),
        (OK + b"content-length: 3\r\ncontent-length: 4\r\n\r\nabcd", "not valid HTTP/1.1"),
        (OK + b"content-length: -1\r\n\r\n", "not valid HTTP/1.1"),
        (OK + b"content-length: " + b"9" * 40 + b"\r\n\r\n", "not valid HTTP/1.1"),
        (OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "transfer coding .*: gzip, chunked"),
        (OK + b"transfer-encoding: gzip\r\n\r\nabc", "transfer coding .*: gzip"),
        (OK + b"content-encoding: br\r\ncontent-length: 3\r\n\r\nabc", "content encoding .*: br"),
        (OK + b"Content-Encoding: GZIP\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "could not decompress"),
        (CHUNKED + b"f" * 17 + b"\r\n", "not valid HTTP/1.1"),
        (CHUNKED + b"-1\r\na\r\n", "not valid HTTP/1.1"),
        (CHUNKED + b"1\r\nab\r\n", "not valid HTTP/1.1"),
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
            with pytest.raises(UpstreamFailed, match="not valid HTTP"):
                await exchange.next_events(5)


@pytest.mark.parametrize(
    "raw", [OK + b"content-length: 9\r\n\r\nabc", CHUNKED + b"9\r\nabc", CHUNKED + b"3\r\nabc\r\n"]
)
@on_both_loops
async def test_a_body_cut_short(raw: bytes) -> None:
    async with serving(says(raw, close=True)) as server, client() as one:
        with pytest.raises(UpstreamFailed, match="was cut off"):
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
        with pytest.raises(UpstreamFailed, match="without a response"):
            await post(one, server.url, body=b"x" * 20_000_000)
