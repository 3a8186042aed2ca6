"""TCP ports in front of a Unix socket: so one engine looks like several replicas, and each can be cut off alone."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Any

from tests.support.waiting import PATIENCE_S


class Forwarder:
    """`with Forwarder(path) as forwarder`: one port; `posts` counts the requests for text that came through it."""

    def __init__(self, path: str) -> None:
        self.posts = 0
        self._path = path
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="forwarder", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def cut(self) -> None:
        """Refuse new connections and end those that are open."""
        self._run(self._cut())

    def __enter__(self) -> Forwarder:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *exc: object) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.current_task())
        self._writers.add(writer)
        engine_reader, engine_writer = await asyncio.open_unix_connection(self._path)
        self._writers.add(engine_writer)
        try:
            await asyncio.gather(
                self._pipe(reader, engine_writer, count=True), self._pipe(engine_reader, writer, count=False)
            )
        finally:
            self._writers -= {writer, engine_writer}
            writer.close()
            engine_writer.close()
            self._tasks.discard(asyncio.current_task())

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, count: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.posts += count and data.startswith(b"POST ")
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _cut(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)
