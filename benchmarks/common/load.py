"""The load client: sends a fixed number of POSTs over a fixed number of kept connections and times each answer.

It uses raw asyncio protocols and httptools, so that it takes little CPU from what it measures. Run it on uvloop.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import NamedTuple
from urllib.parse import urlsplit

import httptools

# A quote within a JSON string is escaped, so these match keys only. The first event of vLLM has empty content.
CONTENT = re.compile(rb'"(?:content|text)":\s*"[^"]')
_ERROR = re.compile(rb'data:\s*\{\s*"error"')


class Endpoint(NamedTuple):
    """Where requests go."""

    url: str
    """`http://host:port/path` or `unix:/socket:/path`"""
    headers: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Answer:
    """One request as the client saw it. Times are perf_counter seconds."""

    status: int
    started: float
    first: float | None
    """when the first event with content came, if it is a stream"""
    ended: float
    events: int
    """how many events had content, if it is a stream"""
    body: bytes
    """empty for a stream, unless `keep` was set"""
    error: str
    """empty if the status is 200 and a stream ended with `[DONE]`"""


class LoadFailed(Exception):
    """Some answers were not as they must be, so the measurement means nothing."""


async def run(
    endpoint: Endpoint,
    bodies: Sequence[bytes],
    *,
    requests: int,
    concurrency: int,
    keep: bool = False,
    timeout_s: float = 120,
) -> list[Answer]:
    """POST the bodies in turn until all requests are answered; return the answers in the order of the requests.

    Args:
        endpoint: where they go.
        bodies: JSON documents; request i sends `bodies[i % len(bodies)]`.
        requests: how many to send.
        concurrency: how many connections, each with one request at a time.
        keep: whether to keep the bodies of streams.
        timeout_s: for one request; a slower one is an answer with an error.
    """
    target = _Target(endpoint.url)
    payloads = [target.request(body, endpoint.headers) for body in bodies]
    answers: dict[int, Answer] = {}
    numbers = iter(range(requests))
    slots = (_slot(target, payloads, numbers, answers, keep, timeout_s) for _ in range(min(concurrency, requests)))
    await asyncio.gather(*slots)
    return [answers[number] for number in range(requests)]


def refuse_errors(what: str, answers: Sequence[Answer]) -> None:
    """Raise `LoadFailed` if any answer has an error: figures that include errors are not reported."""
    wrong = [answer for answer in answers if answer.error]
    if wrong:
        raise LoadFailed(f"{what}: {len(wrong)} of {len(answers)} answers had an error; the first: {wrong[0].error}")


class _Target:
    """A parsed URL: connects to it, and writes requests to it."""

    def __init__(self, url: str) -> None:
        self.socket, self._path = "", ""
        if url.startswith("unix:"):
            self.socket, _, self._path = url.removeprefix("unix:").partition(":")
            self._host = "localhost"
            return
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"expected http://host:port/path or unix:/socket:/path, got {url!r}")
        self.host, self.port, self._host = parts.hostname, parts.port or 80, parts.netloc
        self._path = parts.path or "/"

    def request(self, body: bytes, headers: Mapping[str, str]) -> bytes:
        lines = [f"POST {self._path} HTTP/1.1", f"host: {self._host}", "content-type: application/json"]
        lines += [f"content-length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def connect(self, keep: bool) -> _Connection:
        loop = asyncio.get_running_loop()
        new = partial(_Connection, loop, keep)
        if self.socket:
            return (await loop.create_unix_connection(new, self.socket))[1]
        return (await loop.create_connection(new, self.host, self.port))[1]


async def _slot(
    target: _Target,
    payloads: Sequence[bytes],
    numbers: Iterator[int],
    answers: dict[int, Answer],
    keep: bool,
    timeout_s: float,
) -> None:
    connection = None
    try:
        for number in numbers:
            try:
                if connection is None or not connection.usable:
                    connection = await asyncio.wait_for(target.connect(keep), timeout_s)
            except (OSError, TimeoutError) as error:
                now = perf_counter()
                answers[number] = Answer(0, now, None, now, 0, b"", f"no connection: {error!r}")
                continue
            answers[number] = await connection.ask(payloads[number % len(payloads)], timeout_s)
    finally:
        if connection is not None:
            connection.close()


class _Connection(asyncio.Protocol):
    """One kept connection, with one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, keep: bool) -> None:
        self.usable = True
        self._loop = loop
        self._keep = keep
        self._answer: asyncio.Future[Answer] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def ask(self, payload: bytes, timeout_s: float) -> asyncio.Future[Answer]:
        answer = self._answer = self._loop.create_future()
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []
        self._rest = b""
        self._stream = self._done = False
        self._first: float | None = None
        self._events = 0
        self._error = ""
        self._timer = self._loop.call_later(timeout_s, self._give_up, f"no whole answer within {timeout_s:g} s")
        self._started = perf_counter()
        self._transport.write(payload)
        return answer

    def close(self) -> None:
        self.usable = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._answer is None:
            return self.close()  # unrequested bytes: they cannot be assigned to a request
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._give_up(f"not HTTP: {error!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        if self._answer is not None:
            self._give_up(f"the connection ended before the answer did: {exc!r}")

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type" and value.startswith(b"text/event-stream"):
            self._stream = True

    def on_body(self, data: bytes) -> None:
        if self._keep or not self._stream:
            self._body.append(data)
        if self._stream:
            whole, _, self._rest = (self._rest + data).replace(b"\r\n", b"\n").rpartition(b"\n\n")
            for event in whole.split(b"\n\n"):
                self._read_event(event)

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.close()
        self._finish(self._parser.get_status_code(), self._error)

    def _read_event(self, event: bytes) -> None:
        if CONTENT.search(event):
            self._events += 1
            if self._first is None:
                self._first = perf_counter()
        elif _ERROR.search(event):
            self._error = self._error or f"an event with an error: {event[:300]!r}"
        elif event.removeprefix(b"data:").strip() == b"[DONE]":
            self._done = True

    def _finish(self, status: int, error: str) -> None:
        ended = perf_counter()
        self._timer.cancel()
        answer, self._answer = self._answer, None
        if answer is None or answer.done():
            return
        body = b"".join(self._body)
        if not error and status != 200:
            error = f"status {status}: {body[:300]!r}"
        elif not error and self._stream and not self._done:
            error = "a stream without [DONE]"
        answer.set_result(Answer(status, self._started, self._first, ended, self._events, body, error))

    def _give_up(self, error: str) -> None:
        self.usable = False
        self._finish(0, error)
        self._transport.abort()
