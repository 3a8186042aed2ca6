"""Connecting, slow readers, time limits and clients that leave, on both event loops."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.upstream.connection import HIGH_WATER_BYTES, Connection
from router.upstream.http import HttpUpstream
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
    settled,
    stream,
)
from tests.support.loops import on_both_loops
from tests.support.peer import always, gone, serving
from tests.support.sockets import refusing_port, silent_port

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
