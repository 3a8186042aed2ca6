"""The HTTP client against a raw server on loopback: what happens on the connection is what is tested."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import time
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.upstream import origin
from router.upstream.aiohttp_client import AiohttpClient
from router.upstream.base import Exchange
from router.upstream.http import HttpUpstream
from router.upstream.retry_after import retry_after
from tests.support.peer import Connection, always, gone, serving
from tests.support.sockets import refusing_port, silent_port

Client = HttpUpstream | AiohttpClient


class Tracked:
    """A client whose exchanges are all closed at the end, as a lease does."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.exchanges: list[Exchange] = []

    async def send(self, method: str, url: str, **options: Any) -> Exchange:
        self.exchanges.append(await self.client.send(method, url, **options))
        return self.exchanges[-1]

    async def close(self) -> None:
        for exchange in self.exchanges:
            exchange.close()
        await self.client.close()
        await self.client.close()


@pytest_asyncio.fixture(params=[HttpUpstream, AiohttpClient], ids=["ours", "aiohttp"])
async def upstream(request: pytest.FixtureRequest) -> AsyncIterator[Tracked]:
    one = Tracked(request.param())
    yield one
    await one.close()


@pytest_asyncio.fixture
async def ours() -> AsyncIterator[Tracked]:
    one = Tracked(HttpUpstream())
    yield one
    await one.close()


async def post(upstream: Tracked, url: str, body: bytes = b"{}", connect_s: float = 5.0) -> Exchange:
    async with asyncio.timeout(10):
        return await upstream.send("POST", url, headers={"X-Test": "1"}, body=body, connect_s=connect_s, within_s=60)


# --- what is sent, what comes back


async def test_a_whole_answer(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        request = await connection.request()
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
        assert b"X-Test: 1" in head
        assert b"Accept-Encoding: identity" in head
        assert body == b'{"a":1}'
        await connection.answer(b"\x00\xff", status="418 Teapot", headers=b"Retry-After: 3\r\n")

    async with serving(play) as server:
        exchange = await post(upstream, server.url, b'{"a":1}')
        assert (exchange.status, exchange.retry_after_s) == (418, 3.0)
        assert await exchange.read() == b"\x00\xff"
        exchange.close()


async def test_a_unix_socket(ours: Tracked, tmp_path: Path) -> None:
    async with serving(always, path=tmp_path / "v.sock") as server:
        for _ in range(2):
            exchange = await post(ours, server.url)
            assert await exchange.read() == b"whole"
            exchange.close()
        assert len(server.connections) == 1
        assert (
            server.connections[0].requests[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n")
        )


async def test_sockets_are_kept_apart(ours: Tracked, tmp_path: Path) -> None:
    async with serving(always, path=tmp_path / "a.sock") as a, serving(always, path=tmp_path / "b.sock") as b:
        for server in (a, b):
            (await post(ours, server.url)).close()
        assert [len(a.connections), len(b.connections)] == [1, 1]


async def test_redirects_are_not_followed(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.answer(status="307 Temporary Redirect", headers=b"Location: /elsewhere\r\n")

    async with serving(play) as server:
        exchange = await post(upstream, server.url)
        assert exchange.status == 307
        exchange.close()
        assert len(server.connections[0].requests) == 1


async def test_the_path_is_sent_as_written(upstream: Tracked) -> None:
    async with serving(always) as server:
        exchange = await post(upstream, server.url.replace("/v1/", "/a%2Fb%41/v1/"))
        await exchange.read()
        assert server.connections[0].requests[0].startswith(b"POST /a%2Fb%41/v1/chat/completions ")


# --- connections are used again


async def test_after_a_whole_answer(upstream: Tracked) -> None:
    async with serving(always) as server:
        for _ in range(3):
            exchange = await post(upstream, server.url)
            await exchange.read()
            exchange.close()
            exchange.close()
        assert [len(connection.requests) for connection in server.connections] == [3]


async def test_after_the_done_of_a_stream(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        for _ in range(3):
            await connection.request()
            await connection.begin_stream()
            await connection.chunk(b"data: 1\n\n")
            await connection.chunk(b"data: [DONE]\n\n")
            await connection.send(b"0\r\n\r\n")

    async with serving(play) as server:
        for _ in range(3):
            exchange = await post(upstream, server.url)
            events = []
            while b"[DONE]" not in events:
                events += await exchange.next_events(5)
            assert events == [b"1", b"[DONE]"]
            assert await exchange.next_events(5) == []
            assert await exchange.next_events(5) == []
            exchange.close()
        assert [len(connection.requests) for connection in server.connections] == [3]


async def test_not_after_an_answer_that_was_left(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.begin_stream()
        await connection.chunk(b"data: 1\n\n")

    async with serving(play, always) as server:
        exchange = await post(upstream, server.url)
        assert await exchange.next_events(5) == [b"1"]
        exchange.close()
        await gone(server.connections[0])
        assert await (await post(upstream, server.url)).read() == b"whole"
        assert len(server.connections) == 2


async def test_a_kept_connection_that_the_server_closes_as_it_is_used(upstream: Tracked) -> None:
    """It may have died of the request."""

    async def closes_on_the_second(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"first")
        await connection.request()
        connection.writer.close()

    async with serving(closes_on_the_second, always) as server:
        assert await (await post(upstream, server.url)).read() == b"first"
        with pytest.raises(UpstreamFailed) as caught:
            await post(upstream, server.url)
        assert caught.value.code == "upstream_error"
        assert len(server.connections) == 1
        assert await (await post(upstream, server.url)).read() == b"whole"


async def test_a_connection_is_not_kept_until_the_server_may_close_it(
    ours: Tracked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert origin.KEEPALIVE_S < 5, "uvicorn's limit, and so vLLM's"
    monkeypatch.setattr(origin, "KEEPALIVE_S", 0.01)
    async with serving(always) as server:
        await (await post(ours, server.url)).read()
        await asyncio.sleep(0.05)
        await (await post(ours, server.url)).read()
        assert [len(connection.requests) for connection in server.connections] == [1, 1]


async def test_a_connection_that_the_server_closed_while_idle_is_not_taken(upstream: Tracked) -> None:
    async def once(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"first")
        connection.writer.close()

    async with serving(once, always) as server:
        assert await (await post(upstream, server.url)).read() == b"first"
        await gone(server.connections[0])
        await asyncio.sleep(0.01)  # until the client's loop has read the end
        assert await (await post(upstream, server.url)).read() == b"whole"
        assert [len(connection.requests) for connection in server.connections] == [1, 1]


# --- what goes wrong


async def test_a_new_connection_that_is_closed_without_an_answer(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        connection.writer.close()

    async with serving(play) as server:
        with pytest.raises(UpstreamFailed) as caught:
            await post(upstream, server.url)
        assert caught.value.code == "upstream_error"
        assert len(server.connections) == 1, "asked once"


async def test_refused(upstream: Tracked) -> None:
    with refusing_port() as port:
        for url in (f"http://127.0.0.1:{port}/v1", "http://nobody.invalid/v1"):
            with pytest.raises(UpstreamFailed) as caught:
                await post(upstream, url)
            assert caught.value.code == "upstream_unreachable"
            assert str(port) not in caught.value.message


async def test_a_connect_that_hangs(upstream: Tracked) -> None:
    with silent_port() as port, pytest.raises(UpstreamFailed) as caught:
        await post(upstream, f"http://127.0.0.1:{port}/v1", connect_s=0.05)
    assert caught.value.code == "upstream_unreachable"


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 9\r\n\r\nnot gzip!",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n9\r\nnot gzip!\r\n0\r\n\r\n",
    ],
    ids=lambda raw: repr(raw[:50]),
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_no_http_is_the_upstreams_failure(upstream: Tracked, raw: bytes, stream: bool) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.send(raw)
        connection.writer.close()

    async with serving(play) as server:

        async def ask() -> None:
            exchange = await post(upstream, server.url)
            while await (exchange.next_events(5) if stream else exchange.read()):
                pass

        with pytest.raises(UpstreamFailed):
            await ask()


async def test_headers_in_any_bytes_are_no_trouble(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.answer(headers=b"X-Name: \xe9\xff\r\nRetry-After: \xe9\r\n")

    async with serving(play) as server:
        exchange = await post(upstream, server.url)
        assert (await exchange.read(), exchange.retry_after_s) == (b"{}", None)


async def test_headers_of_ours_may_hold_any_letters(upstream: Tracked) -> None:
    async with serving(always) as server:
        await upstream.send(
            "POST", server.url, headers={"Authorization": "Bearer ké€"}, body=b"", connect_s=5, within_s=60
        )
        assert "Bearer ké€".encode() in server.connections[0].requests[0]


async def test_a_header_with_a_line_break_is_refused_here(upstream: Tracked) -> None:
    async with serving(always) as server:
        with pytest.raises(UpstreamFailed):
            await upstream.send(
                "POST", server.url, headers={"Authorization": "a\r\nb: c"}, body=b"", connect_s=5, within_s=60
            )


async def test_one_who_leaves_while_waiting_for_headers_closes_the_connection(upstream: Tracked) -> None:
    arrived = asyncio.Event()

    async def play(connection: Connection) -> None:
        await connection.request()
        arrived.set()

    async with serving(play) as server:
        task = asyncio.ensure_future(post(upstream, server.url))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone(server.connections[0])


async def test_an_answer_over_the_limit(upstream: Tracked, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("exchange", "aiohttp_client"):
        monkeypatch.setattr(f"router.upstream.{module}.MAX_BODY_BYTES", 1000)

    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"x" * 1001)

    async with serving(play) as server:
        exchange = await post(upstream, server.url)
        with pytest.raises(UpstreamFailed, match="1000 bytes"):
            await exchange.read()
        exchange.close()


async def test_a_large_answer_within_it(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.answer(b"x" * 5_000_000)

    async with serving(play) as server:
        assert len(await (await post(upstream, server.url)).read()) == 5_000_000


# --- streams


async def test_events_come_as_they_are_sent_and_comments_do_not(upstream: Tracked) -> None:
    go = asyncio.Event()

    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.begin_stream()
        await connection.chunk(b": hello\n\ndata: 1\n\ndata: \xe2")
        await go.wait()
        await connection.chunk(b"\x82\xac\n\n: still here\n\n")
        await connection.send(b"0\r\n\r\n")

    async with serving(play) as server:
        exchange = await post(upstream, server.url)
        assert await exchange.next_events(5) == [b"1"]
        go.set()
        assert await exchange.next_events(5) == ["€".encode()]
        assert await exchange.next_events(5) == []


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 1_000_000])
async def test_an_event_longer_than_the_read_buffer(upstream: Tracked, size: int) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.begin_stream()
        await connection.chunk(b"data: " + b"x" * size + b"\n\ndata: [DONE]\n\n")
        await connection.send(b"0\r\n\r\n")

    async with serving(play) as server:
        exchange = await post(upstream, server.url)
        events: list[bytes] = []
        while batch := await exchange.next_events(5):
            events += batch
        assert [len(event) for event in events] == [size, 6]


@pytest.mark.parametrize("within_s", [0.05, 0.0, -5.0])
async def test_a_stream_that_stands_still(upstream: Tracked, within_s: float) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.begin_stream()
        await connection.chunk(b"data: 1\n\n: a comment is no event\n\n")

    async with serving(play) as server:
        exchange = await post(upstream, server.url)
        assert await exchange.next_events(5) == [b"1"]
        with pytest.raises(UpstreamTimedOut):
            await exchange.next_events(within_s)
        exchange.close()
        await gone(server.connections[0])


async def test_comments_do_not_put_off_the_time_limit(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.begin_stream()
        while True:
            await connection.chunk(b": still here\n\n")
            await asyncio.sleep(0.01)

    async with serving(play) as server:
        exchange = await post(upstream, server.url)
        with pytest.raises(UpstreamTimedOut):
            async with asyncio.timeout(5):
                await exchange.next_events(0.1)


async def test_a_cut_stream(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.begin_stream()
        await connection.chunk(b"data: 1\n\n")
        connection.writer.close()

    async with serving(play) as server:
        exchange = await post(upstream, server.url)
        assert await exchange.next_events(5) == [b"1"]
        with pytest.raises(UpstreamFailed):
            await exchange.next_events(5)


async def test_a_stream_without_length_ends_with_its_connection(upstream: Tracked) -> None:
    async def play(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\ndata: 1\n\ndata: 2")
        connection.writer.close()

    async with serving(play) as server:
        exchange = await post(upstream, server.url)
        events: list[bytes] = []
        while batch := await exchange.next_events(5):
            events += batch
        assert events == [b"1", b"2"]


# --- Retry-After


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "-5"}, 0.0),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0.0),
        ({"retry-after": "99999999"}, 3600.0),
        ({"retry-after": "9" * 400}, 3600.0),
        ({"retry-after-ms": "inf"}, 3600.0),
        ({"retry-after-ms": "nan"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "."}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "²"}, None),
        ({"retry-after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT"}, None),
    ],
    ids=str,
)
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_retry_after_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.upstream.retry_after.time", lambda: 1_000_000_000.0)  # Sun, 09 Sep 2001 01:46:40 GMT
    assert retry_after({"retry-after": "Sun, 09 Sep 2001 01:47:10 GMT"}) == 30.0
    assert time() > 1_000_000_000


DATES = st.builds(
    "{} {} {} {}:{}:00 {}".format,
    st.sampled_from(["Mon,", "", "x"]),
    st.integers(-1, 99),
    st.sampled_from(["Jan 2030", "Feb 0001", "Dec 9999", "Jan 99999999999999999999"]),
    st.integers(0, 99),
    st.integers(0, 99),
    st.sampled_from(["GMT", "+2359", "-9999", "+99999999999", ""]),
)


@given(st.text(max_size=20) | DATES, st.sampled_from(["retry-after", "retry-after-ms"]))
def test_retry_after_of_anything(value: str, name: str) -> None:
    seconds = retry_after({name: value})
    assert seconds is None or 0 <= seconds <= 3600
