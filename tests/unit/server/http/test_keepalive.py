"""Comments to a client that waits for a held stream."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from router.record import RequestRecord
from server.http import keepalive
from server.http.keepalive import KeepAlive
from server.http.relay import start_stream


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "COMMENT_INTERVAL_S", 0.01)


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


async def test_silence_within_a_held_answer_is_ended_too_and_its_last_word_is_the_last() -> None:
    client, of = Client(), record(held=True)
    async with KeepAlive(of, client.send, stream=True) as silence:
        await silence.send({"type": "http.response.start", "status": 200, "headers": []})
        of.status = 200
        await silence.send({"type": "http.response.body", "body": b"text", "more_body": True})
        await client.heard.wait()
        await silence.send({"type": "http.response.body", "body": b"end"})
        await asyncio.sleep(0.05)
    bodies = [message.get("body") for message in client.messages]
    assert (bodies[:2], bodies[-1]) == ([None, b"text"], b"end")
    assert {*bodies[2:-1]} == {b": waiting\n\n"}


async def test_while_something_is_being_sent_or_was_just_now_nothing_is_said() -> None:
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0.05)
        sent.append(message["body"])

    async with KeepAlive(record(held=True), send, stream=True) as silence:
        for _ in range(3):
            await silence.send({"type": "http.response.body", "body": b"text", "more_body": True})
    assert sent == [b"text"] * 3


async def test_what_follows_a_comment_waits_for_it() -> None:
    sent: list[bytes | None] = []
    slow = asyncio.Event()

    async def send(message: Any) -> None:
        await slow.wait()
        sent.append(message.get("body"))

    async with KeepAlive(record(held=True), send, stream=True) as silence:
        await asyncio.sleep(0.03)
        asyncio.get_running_loop().call_soon(slow.set)
        await silence.send({"type": "http.response.body", "body": b"text", "more_body": True})
    assert sent[:3] == [None, b": waiting\n\n", b"text"]


async def test_a_comment_that_is_about_to_be_sent_brings_the_headers() -> None:
    client, of = Client(), record(held=True)
    async with KeepAlive(of, client.send, stream=True) as silence:
        time.sleep(0.02)  # noqa: ASYNC251
        await asyncio.sleep(0)  # the timer is due
        await asyncio.sleep(0)  # its comment is not yet begun
        await silence.finish_comment()
        await start_stream(of, silence.send)
        await silence.send({"type": "http.response.body", "body": b"end"})
    assert [message.get("body") for message in client.messages] == [None, b": waiting\n\n", b"end"]
