from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from server.http import protocol
from server.http.disconnect import ClientDisconnected, cancel_on_disconnect
from server.http.protocol import MAX_HEAD_BYTES, LimitedHttpProtocol


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = asyncio.Event()

    @property
    def sent(self) -> bytes:
        return b"".join(self.writes)

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed.set()

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def ok(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def connect() -> tuple[LimitedHttpProtocol, FakeTransport]:
    config = uvicorn.Config(ok, log_config=None, ws="none", lifespan="off")
    config.load()
    connection, transport = LimitedHttpProtocol(config, ServerState(), {}), FakeTransport()
    connection.connection_made(transport)
    return connection, transport


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nhost: x\r\n"])
async def test_a_head_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.01)
    connection, transport = connect()
    if begun:
        connection.data_received(begun)
    await asyncio.wait_for(transport.closed.wait(), 5)
    assert transport.sent == b""
    connection.connection_lost(None)


async def test_a_whole_head_has_no_time_limit_any_more() -> None:
    connection, transport = connect()
    connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n")
    assert connection._head_timer is None
    connection.data_received(b"x" * 5)
    await asyncio.gather(*connection.tasks)
    assert transport.sent.startswith(b"HTTP/1.1 204 ")
    connection.connection_lost(None)


async def test_a_long_head_is_refused_and_a_long_body_is_not() -> None:
    connection, transport = connect()
    connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * MAX_HEAD_BYTES)
    assert not transport.is_closing()
    connection.data_received(b"y")
    assert transport.sent.startswith(b"HTTP/1.1 431 ")
    assert transport.is_closing()
    connection.connection_lost(None)
    connection, transport = connect()
    connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
    for _ in range(10):
        connection.data_received(b"x" * 100_000)
    await asyncio.gather(*connection.tasks)
    assert transport.sent.startswith(b"HTTP/1.1 204 ")
    connection.connection_lost(None)


async def test_trailers_without_end_are_refused() -> None:
    connection, transport = connect()
    connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n")
    for i in range(10):
        connection.data_received(b"x-%d: " % i + b"y" * 30_000 + b"\r\n")
    assert transport.is_closing()
    connection.connection_lost(None)


async def test_a_head_behind_a_running_answer_does_not_cut_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.01)
    connection, transport = connect()
    finish = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await finish.wait()
        await ok(scope, receive, send)

    connection.app = slow
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n")
    await asyncio.sleep(0.05)
    assert not transport.is_closing()
    finish.set()
    await asyncio.wait_for(transport.closed.wait(), 5)  # then nobody waits for the rest of the second head
    assert transport.sent.startswith(b"HTTP/1.1 204 ")
    connection.connection_lost(None)


async def test_empty_lines_hold_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.01)
    connection, transport = connect()
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.gather(*connection.tasks)
    connection.data_received(b"\r\n")
    await asyncio.wait_for(transport.closed.wait(), 5)
    connection.connection_lost(None)


async def test_a_head_leaves_with_the_first_of_its_body() -> None:
    connection, transport = connect()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in (b"one", b"two"):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"three"})

    connection.app = stream
    for _ in range(2):
        transport.writes.clear()
        connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await asyncio.gather(*connection.tasks)
        first, *others = transport.writes
        assert first.startswith(b"HTTP/1.1 200 OK\r\n")
        assert first.endswith(b"\r\n\r\n3\r\none\r\n")
        assert others == [b"3\r\ntwo\r\n", b"5\r\nthree\r\n0\r\n\r\n"]
    connection.connection_lost(None)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_head_alone_is_sent(method: bytes) -> None:
    connection, transport = connect()
    connection.data_received(method + b" / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.gather(*connection.tasks)
    assert transport.sent == b"HTTP/1.1 204 No Content\r\n\r\n"
    connection.connection_lost(None)


@pytest.mark.parametrize(
    ("headers", "bodies"),
    [
        ([(b"x", b"a\r\nb: c")], [b""]),
        ([(b"x", b"a\nb")], [b""]),
        ([(b"x\r", b"a")], [b""]),
        ([(b"content-length", b"2")], [b"one"]),
        ([(b"content-length", b"2")], [b"o"]),
        ([(b"content-length", b"2")], [b"o", b"ne"]),
    ],
)
async def test_an_answer_that_is_none_ends_the_connection(
    headers: list[tuple[bytes, bytes]], bodies: list[bytes]
) -> None:
    connection, transport = connect()

    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for body in bodies[:-1]:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": bodies[-1]})

    connection.app = broken
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.gather(*connection.tasks)
    assert b"b: c" not in transport.sent
    assert transport.is_closing()
    connection.connection_lost(None)


@pytest.mark.parametrize(
    ("request_", "headers", "closes"),
    [
        (b"GET / HTTP/1.1\r\n", [], False),
        (b"GET / HTTP/1.1\r\n", [(b"connection", b"close")], True),
        (b"GET / HTTP/1.1\r\nconnection: close\r\n", [], True),
        (b"GET / HTTP/1.0\r\n", [], True),
    ],
)
async def test_who_closes_says_so_once(request_: bytes, headers: list[tuple[bytes, bytes]], closes: bool) -> None:
    connection, transport = connect()

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        headers_ = [(b"content-length", b"3"), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers_})
        await send({"type": "http.response.body", "body": b"one"})

    connection.app = answer
    connection.data_received(request_ + b"host: x\r\n\r\n")
    await asyncio.gather(*connection.tasks)
    assert transport.sent.endswith(b"\r\n\r\none")
    assert transport.sent.count(b"connection: close") == closes
    assert transport.is_closing() == closes
    connection.connection_lost(None)


async def test_continue_is_said_at_once() -> None:
    connection, transport = connect()

    async def read(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await ok(scope, receive, send)

    connection.app = read
    connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\nexpect: 100-continue\r\n\r\n")
    await asyncio.sleep(0)
    assert transport.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.data_received(b"x")
    await asyncio.gather(*connection.tasks)
    assert transport.sent.endswith(b"HTTP/1.1 204 No Content\r\n\r\n")
    connection.connection_lost(None)


async def test_who_leaves_ends_what_is_done_for_him() -> None:
    connection, _ = connect()
    begun, ended = asyncio.Event(), asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        try:
            with cancel_on_disconnect(scope):
                begun.set()
                await asyncio.sleep(30)
        except ClientDisconnected:
            ended.set()

    connection.app = slow
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET /next HTTP/1.1\r\nhost: x\r\n\r\n")
    await begun.wait()
    connection.connection_lost(None)
    await asyncio.wait_for(ended.wait(), 5)


class Slow(FakeTransport):
    """The client takes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True


async def test_a_client_that_takes_nothing_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALLED_CLIENT_TIMEOUT_S", 0.01)
    connection, _ = connect()
    transport = Slow()
    connection.connection_made(transport)
    connection.pause_writing()
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(asyncio.gather(*connection.tasks), 5)
    assert transport.aborted
    assert transport.sent == b""
    connection.connection_lost(None)


async def test_the_start_of_an_answer_waits_for_nobody() -> None:
    """Else a deadline that passes there would find an answer that has begun, and has not."""
    connection, transport = connect()
    connection.pause_writing()
    started = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        started.set()
        await send({"type": "http.response.body", "body": b""})

    connection.app = app
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.wait_for(started.wait(), 5)
    connection.resume_writing()
    await asyncio.gather(*connection.tasks)
    assert transport.sent.startswith(b"HTTP/1.1 204 ")
    connection.connection_lost(None)


async def test_an_answer_begins_once() -> None:
    connection, transport = connect()

    async def twice(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(2):
            await send({"type": "http.response.start", "status": 200, "headers": []})

    connection.app = twice
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    await asyncio.gather(*connection.tasks)
    assert transport.is_closing()
    connection.connection_lost(None)


async def test_an_old_client_gets_its_body_without_chunks() -> None:
    connection, transport = connect()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    connection.app = stream
    connection.data_received(b"GET / HTTP/1.0\r\nhost: x\r\n\r\n")
    await asyncio.gather(*connection.tasks)
    head, _, body = transport.sent.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert body == b"onetwo"
    assert transport.is_closing()
    connection.connection_lost(None)


async def test_a_body_that_nobody_waits_for_holds_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.01)
    connection, transport = connect()  # answers without reading, as a refusal does
    connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n")
    await asyncio.gather(*connection.tasks)
    connection.data_received(b"x")
    await asyncio.wait_for(transport.closed.wait(), 5)
    connection.connection_lost(None)


async def test_after_a_large_body_the_connection_is_read_on() -> None:
    """Who does not read does not see the client leave."""
    connection, transport = connect()
    reading = []
    transport.pause_reading = lambda: reading.append(False)  # type: ignore[method-assign]
    transport.resume_reading = lambda: reading.append(True)  # type: ignore[method-assign]
    finish = asyncio.Event()

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await finish.wait()
        await ok(scope, receive, send)

    connection.app = reads
    connection.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n")
    await asyncio.sleep(0)
    connection.data_received(b"x" * 200_000)
    await asyncio.sleep(0)
    assert reading[-1:] == [True]
    finish.set()
    await asyncio.gather(*connection.tasks)
    connection.connection_lost(None)
