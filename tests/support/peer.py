"""A raw HTTP server on loopback that plays what a test wants, connection by connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

Play = Callable[["Connection"], Awaitable[None]]


class Connection:
    """One connection at the server; `requests` holds what came over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.requests: list[bytes] = []
        self.gone = asyncio.Event()

    async def request(self) -> bytes:
        """Wait for the next request, headers and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0
        )
        self.requests.append(head + await self.reader.readexactly(length))
        return self.requests[-1]

    async def answer(self, body: bytes = b"{}", *, status: str = "200 OK", headers: bytes = b"") -> None:
        head = b"HTTP/1.1 " + status.encode() + b"\r\ncontent-length: %d\r\n" % len(body)
        await self.send(head + headers + b"\r\n" + body)

    async def begin_stream(self) -> None:
        await self.send(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")

    async def chunk(self, data: bytes) -> None:
        await self.send(b"%x\r\n%s\r\n" % (len(data), data))

    async def send(self, data: bytes) -> None:
        if self.writer.transport.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()


class Server:
    """Plays the next of its plays on each new connection; the last one on all further ones."""

    def __init__(self, *plays: Play) -> None:
        self.plays = list(plays)
        self.connections: list[Connection] = []
        self.url = ""
        self.failures: list[BaseException] = []
        self.tasks: list[asyncio.Task[Any]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        self.connections.append(connection)
        if task := asyncio.current_task():
            self.tasks.append(task)
        play = self.plays.pop(0) if len(self.plays) > 1 else self.plays[0]
        try:
            await play(connection)
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        except AssertionError as error:
            self.failures.append(error)
        finally:
            connection.gone.set()
            writer.transport.abort()

    async def close(self) -> None:
        await asyncio.sleep(0)  # tasks that were cancelled before they began would not end their connections
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def serving(*plays: Play, path: Path | None = None) -> AsyncIterator[Server]:
    server = Server(*plays)
    if path:
        listener: Any = await asyncio.start_unix_server(server.serve, path)
        server.url = f"unix:{path}:/v1/chat/completions"
    else:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1/chat/completions"
    try:
        yield server
    finally:
        listener.close()
        await server.close()
        assert not server.failures


async def always(connection: Connection) -> None:
    while True:
        await connection.request()
        await connection.answer(b"whole")


async def gone(connection: Connection) -> None:
    async with asyncio.timeout(5):
        await connection.gone.wait()
