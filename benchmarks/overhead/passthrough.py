"""The reference: the least that a gateway in Python can do. A bare ASGI app on uvicorn that copies bodies.

It imports nothing of the project, so it stays the same while the gateway changes. It has no keys, limits, checks,
timeouts or records: they are what the gateway costs more than this.

    python -m benchmarks.overhead.passthrough --upstream http://127.0.0.1:9100/v1 --port 9101
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import httptools
import uvicorn

Message = MutableMapping[str, Any]


class _Upstream(asyncio.Protocol):
    """One kept connection to the upstream, with one request at a time."""

    def __init__(self) -> None:
        self.usable = True
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def start(self, payload: bytes) -> None:
        """Send a request."""
        self._parser = httptools.HttpResponseParser(self)
        self.headers: list[tuple[bytes, bytes]] = []
        self.begun = self.done = False
        self._parts: list[bytes] = []
        self._transport.write(payload)

    async def wait(self) -> None:
        """Wait for more of the answer."""
        if not (self._parts or self.done):
            self._waiter = self._loop.create_future()
            await self._waiter

    def take(self) -> bytes:
        """Return the part of the body that has arrived since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._parts or self.done:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.usable = False
        self.done = True
        self._wake()

    def on_header(self, name: bytes, value: bytes) -> None:
        if (name := name.lower()) in (b"content-type", b"content-length"):
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        self._parts.append(data)

    def on_message_complete(self) -> None:
        self.done = True

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _App:
    """The ASGI app."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._idle: list[_Upstream] = []

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        body = b""
        more = scope["method"] == "POST"
        while more:
            message = await receive()
            body += message["body"]
            more = message["more_body"]
        upstream = self._idle.pop() if self._idle else await self._connect()
        head = f"{scope['method']} {scope['path']} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\n"
        head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        upstream.start(head.encode() + body)
        await upstream.wait()
        await send({"type": "http.response.start", "status": upstream.status, "headers": upstream.headers})
        while not upstream.done:
            await send({"type": "http.response.body", "body": upstream.take(), "more_body": True})
            await upstream.wait()
        await send({"type": "http.response.body", "body": upstream.take()})
        if upstream.usable:
            self._idle.append(upstream)

    async def _connect(self) -> _Upstream:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(_Upstream, self._host, self._port))[1]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead.passthrough", description="Copies bodies.")
    parser.add_argument("--upstream", required=True, help="for instance http://127.0.0.1:9100/v1")
    parser.add_argument("--port", type=int, required=True, help="on 127.0.0.1")
    arguments = parser.parse_args()
    uvicorn.run(
        _App(arguments.upstream),
        host="127.0.0.1",
        port=arguments.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=75,
    )


if __name__ == "__main__":
    main()
