"""A scripted upstream: an HTTP/1.1 server on raw sockets that does what a real model cannot do on command.

One server plays many upstreams. The first part of the path names the *site*: `http://host/slm-7/v1` is a replica of
its own, with its own script, its own requests and its own `/slm-7/health`.

A site plays one *behaviour* for each request: the next of its script, else `otherwise`. A behaviour is a list of
steps: bytes to send, a pause, a gate that the test opens, a cut. It runs in the server's thread; the test reads
`site.calls` and waits with `site.wait_for_calls` and `call.wait_closed`.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
from collections import deque
from typing import Any

from tests.support.behaviours import Behaviour, Call, Gone, answer, respond
from tests.support.sockets import refusing_port, silent_port
from tests.support.waiting import PATIENCE_S

WRITE_BUFFER = 64 * 1024


class Connection(asyncio.Protocol):
    """Reads requests one after the other, and notices at once when the peer leaves."""

    def __init__(self, server: Upstream) -> None:
        self.server = server
        self.buffer = bytearray()
        self.lost = False
        self.calls: list[Call] = []
        self._news = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self.server.connections.add(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.server.connections.discard(self)
        # asyncio closes the socket behind this: who is told now could still find it open
        asyncio.get_running_loop().call_soon(self._mark_closed)
        self._news.set()
        self._writable.set()

    def _mark_closed(self) -> None:
        for call in self.calls:
            call.mark_closed()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def write(self, data: bytes) -> None:
        await self._writable.wait()
        if self.lost:
            raise Gone
        self.transport.write(data)
        await asyncio.sleep(0)

    async def close(self) -> None:
        self.transport.close()  # what was written goes out first

    def reset(self) -> None:
        raw = self.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def _serve(self) -> None:
        with contextlib.suppress(Gone, ValueError):
            while True:
                head = await self._read_until(b"\r\n\r\n")
                call = Call(self, head, b"")
                call.body = await self._read(int(call.header("content-length") or 0))
                self.calls.append(call)
                await self.server.site(call.site).answer(call)
                call.over = True
        self.transport.close()

    async def _read_until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            await self._more()
        head, _, rest = bytes(self.buffer).partition(mark)
        self.buffer = bytearray(rest)
        return head

    async def _read(self, length: int) -> bytes:
        while len(self.buffer) < length:
            await self._more()
        body = bytes(self.buffer[:length])
        del self.buffer[:length]
        return body

    async def _more(self) -> None:
        if self.lost:
            raise Gone
        self._news.clear()
        await self._news.wait()


class Site:
    """One upstream replica: its script, and what was asked of it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.script: deque[Behaviour] = deque()
        self.otherwise: Behaviour = answer()
        self.health: Behaviour = respond(200)
        self.calls: list[Call] = []
        self.probes: list[Call] = []
        self._news = threading.Condition()

    def then(self, *behaviours: Behaviour) -> None:
        """Append behaviours, one for each further request."""
        self.script.extend(behaviours)

    def always(self, behaviour: Behaviour) -> None:
        """Set what every request gets that the script does not cover."""
        self.otherwise = behaviour

    def wait_for_calls(self, count: int) -> list[Call]:
        with self._news:
            enough = self._news.wait_for(lambda: len(self.calls) >= count, PATIENCE_S)
        assert enough, f"{self.name}: {len(self.calls)} calls after {PATIENCE_S} s, expected {count}"
        return self.calls

    @property
    def asked(self) -> int:
        """How often it was asked.

        A request whose connection was used before, and dies without a word, may be sent again: that counts once.
        """
        return len(self.calls) - sum(call.died_unanswered and call.came_behind_another for call in self.calls[:-1])

    @property
    def last(self) -> Call:
        assert self.calls, f"{self.name} was not called"
        return self.calls[-1]

    async def answer(self, call: Call) -> None:
        """Play what is due for this request (in the server's thread)."""
        if call.method == "GET":
            self.probes.append(call)
            models = {"object": "list", "data": [{"id": self.name, "object": "model"}]}
            await (self.health if call.path == "health" else respond(200, models))(call)
            return
        with self._news:
            self.calls.append(call)
            behaviour = self.script.popleft() if self.script else self.otherwise
            self._news.notify_all()
        await behaviour(call)


class Upstream:
    """The server, in a thread of its own; `with Upstream() as upstream`."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self._sites: dict[str, Site] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="upstream", daemon=True)

    def __enter__(self) -> Upstream:
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> Upstream:
        self._thread.start()
        self._server = self._run(self._listen())
        self._dead = contextlib.ExitStack()
        self.refusing_url = f"http://127.0.0.1:{self._dead.enter_context(refusing_port())}/v1"
        self.silent_url = f"http://127.0.0.1:{self._dead.enter_context(silent_port())}/v1"
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def stop(self) -> None:
        self._run(self._shut_down())
        self._dead.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    def site(self, name: str) -> Site:
        if name not in self._sites:
            self._sites[name] = Site(name)
        return self._sites[name]

    def called(self, pattern: str) -> bool:
        """Return whether any site whose name matches was called."""
        return any(site.calls for name, site in list(self._sites.items()) if re.fullmatch(pattern, name))

    def running(self) -> list[Call]:
        """Return the calls that have not come to an end."""
        return [call for site in list(self._sites.values()) for call in site.calls if not call.ended]

    def close_idle(self) -> None:
        """Close the connections on which nothing runs."""
        self._run(self._close_idle())

    def url(self, site: str) -> str:
        return f"http://127.0.0.1:{self.port}/{site}/v1"

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: Connection(self), "127.0.0.1", 0, backlog=512)

    async def _close_idle(self) -> None:
        for connection in list(self.connections):
            if all(call.ended for call in connection.calls):
                connection.transport.close()

    async def _shut_down(self) -> None:
        self._server.close()
        tasks = [connection.task for connection in self.connections]
        for connection in list(self.connections):
            connection.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)
