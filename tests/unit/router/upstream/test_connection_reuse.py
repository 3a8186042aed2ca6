"""Connections that are used again, and those that died meanwhile, on both event loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from router.errors import UpstreamFailed
from router.upstream import origin
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
)
from tests.support.loops import on_both_loops
from tests.support.peer import Play, always, gone, serving

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
    monkeypatch.setattr("router.upstream.http.MIN_IDLE_TO_RETRY_S", -1.0)


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
    monkeypatch.setattr("router.upstream.http.MAX_ELAPSED_TO_RETRY_S", 0.05)

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
