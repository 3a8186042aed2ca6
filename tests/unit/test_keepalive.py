"""Comments to a client that waits for a held stream."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from router.record import RequestRecord
from server import keepalive
from server.keepalive import KeepAlive


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "SILENCE_S", 0.01)


class Client:
    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.heard = asyncio.Event()

    async def send(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.messages.append(message)
        if len(self.messages) >= 3:
            self.heard.set()


def record(*, held: bool) -> RequestRecord:
    return RequestRecord("req_1", 0.0, held=held)


async def test_while_held_comments_come_after_the_headers() -> None:
    client, of = Client(), record(held=True)
    async with KeepAlive(of, client.send, stream=True):
        await client.heard.wait()
    start, *comments = client.messages
    assert (start["type"], start["status"]) == ("http.response.start", 200)
    assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]
    assert {comment["body"] for comment in comments} == {b": waiting\n\n"}
    assert all(comment["more_body"] for comment in comments)
    assert of.status == 200


async def test_it_begins_when_the_holding_begins() -> None:
    client, of = Client(), record(held=False)
    async with KeepAlive(of, client.send, stream=True):
        await asyncio.sleep(0.05)
        assert client.messages == []
        of.held = True
        await client.heard.wait()


@pytest.mark.parametrize(("held", "stream"), [(False, True), (True, False), (False, False)])
async def test_nothing_is_said_otherwise(held: bool, stream: bool) -> None:
    client = Client()
    async with KeepAlive(record(held=held), client.send, stream=stream):
        await asyncio.sleep(0.05)
    assert client.messages == []


async def test_nothing_comes_after_it_was_stopped() -> None:
    client = Client()
    async with KeepAlive(record(held=True), client.send, stream=True) as silence:
        await client.heard.wait()
        await silence.stop()
        count = len(client.messages)
        await asyncio.sleep(0.05)
        assert len(client.messages) == count


async def test_what_is_being_sent_is_sent_whole_before_anything_else() -> None:
    sent: list[str] = []
    slow = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(f"begin {message['type']}")
        await slow.wait()
        sent.append(f"end {message['type']}")

    async with KeepAlive(record(held=True), send, stream=True) as silence:
        await asyncio.sleep(0.03)
        asyncio.get_running_loop().call_soon(slow.set)
        await silence.stop()
    assert sent == [f"{word} http.response.{part}" for part in ("start", "body") for word in ("begin", "end")]
