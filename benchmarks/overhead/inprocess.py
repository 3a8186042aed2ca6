"""The whole gateway in this process, between a client and an upstream that are objects instead of sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from pydantic import SecretStr
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from benchmarks.common.load import LoadFailed
from benchmarks.overhead.measure import KEY
from benchmarks.overhead.processes import models_yaml
from benchmarks.overhead.scenarios import Scenario
from benchmarks.overhead.upstream import EncodedScript
from router.load_config import load
from router.upstream.base import Exchange
from server.app import create_app
from server.http.protocol import LimitedHttpProtocol
from server.processes.resources import Resources
from server.settings import Settings

PATH = "/v1/chat/completions"
ENDS = (b"}", b"0\r\n\r\n")
"""the end of an answer's last write: of a JSON body, or of a chunked one"""
ANSWER_S = 10.0


class SocketlessLoop(uvloop.Loop):
    """An event loop that connects to `upstreams`, by their port, instead of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.upstreams: dict[int, Sequence[bytes]] = {}

    async def create_connection(  # type: ignore[override]
        self, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        """Return a connection to a scripted upstream."""
        protocol = factory()
        transport = FakeUpstream(self, protocol, self.upstreams[port])
        protocol.connection_made(transport)
        return transport, protocol


class _Transport(asyncio.Transport):
    """A transport without a buffer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._loop, self._protocol, self._closed = loop, protocol, False

    def is_closing(self) -> bool:
        return self._closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    close = abort


class FakeUpstream(_Transport):
    """Answers each write with its pieces, one in each turn of the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, pieces: Sequence[bytes]) -> None:
        super().__init__(loop, protocol)
        self._pieces = pieces

    def write(self, data: object) -> None:
        """Begin the answer."""
        self._loop.call_soon(self._send, 0)

    def _send(self, number: int) -> None:
        if self._closed:
            return
        self._protocol.data_received(self._pieces[number])
        number += 1
        if number < len(self._pieces):
            self._loop.call_soon(self._send, number)


class Client(_Transport):
    """One client's connection: sends `request`, and recognizes the end of the answer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, app: ASGIApp, request: bytes) -> None:
        config = uvicorn.Config(  # as in `server.processes.gateway`
            app, interface="asgi3", log_config=None, ws="none", lifespan="off", access_log=False, server_header=False,
            proxy_headers=False, timeout_keep_alive=75,
        )  # fmt: skip
        config.load()
        protocol = LimitedHttpProtocol(config, ServerState(), {})
        super().__init__(loop, protocol)
        self._request = request
        self._done: asyncio.Future[None] = loop.create_future()
        self.writes: list[bytes] | None = None
        """what the gateway wrote; None: it is not kept"""
        protocol.connection_made(self)

    def write(self, data: Any) -> None:
        """Receive a part of the answer."""
        if self.writes is not None:
            self.writes.append(bytes(data))
        if data.endswith(ENDS):
            self._done.set_result(None)

    async def ask(self) -> None:
        """Send the request; return when the answer is complete."""
        self._done = self._loop.create_future()
        self._protocol.data_received(self._request)
        await self._done


class InProcessGateway:
    """A gateway for one scenario, with the scripted answer behind it."""

    def __init__(self, scenario: Scenario, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        if not isinstance(loop, SocketlessLoop):
            raise TypeError("an InProcessGateway needs the loop of this module")
        port = 1 + len(loop.upstreams)
        self.pieces = loop.upstreams[port] = EncodedScript(scenario.script, 0).with_usage
        self.scenario = scenario
        file = folder / f"{scenario.name}.yaml"
        file.write_text(json.dumps(models_yaml(f"http://127.0.0.1:{port}/v1")), encoding="utf-8")
        self.config = load(file, {}, gpu=False)
        self.settings = Settings(state_dir=folder, api_keys=(SecretStr(KEY),))
        self.resources = Resources(self.config, self.settings, url="", progress=lambda _: None)
        self.resources.fleet.set_worker(0)
        self.body = scenario.bodies()[0]
        self.headers = [
            (b"host", b"127.0.0.1:8000"), (b"accept", b"application/json"), (b"user-agent", b"benchmark"),
            (b"authorization", f"Bearer {KEY}".encode()), (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self.body)),
        ]  # fmt: skip
        self.client = self.connect(create_app(self.config, self.settings, self.resources))

    def connect(self, app: ASGIApp) -> Client:
        """Return a client of an app that sends the scenario's request."""
        lines = b"".join(b"%b: %b\r\n" % header for header in self.headers)
        request = f"POST {PATH} HTTP/1.1\r\n".encode() + lines + b"\r\n" + self.body
        return Client(asyncio.get_running_loop(), app, request)

    async def check(self) -> int:
        """Send one request; return in how many writes the answer came.

        Raises:
            LoadFailed: it was not the scripted answer.
        """
        writes = self.client.writes = []
        try:
            async with asyncio.timeout(ANSWER_S):
                await self.client.ask()
        except TimeoutError:
            raise LoadFailed(f"{self.scenario.name}: no whole answer, but {b''.join(writes)[:300]!r}") from None
        finally:
            self.client.writes = None
        answer, script = b"".join(writes), self.scenario.script
        *events, _usage, done = script.events()  # the client did not ask for the usage
        expected = [*events, done] if script.stream else [json.dumps(script.text).encode()]  # without empty fields
        if not answer.startswith(b"HTTP/1.1 200 ") or not all(part in answer for part in expected):
            raise LoadFailed(f"{self.scenario.name}: answered {answer[:300]!r}")
        return len(writes)

    async def close(self) -> None:
        """Close every connection."""
        self.client.close()
        await self.resources.upstream.close()


class ReplayedEvents:
    """Yields the events of an earlier dispatch again."""

    def __init__(self, batches: Sequence[Any]) -> None:
        self._batches = iter(batches)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        for batch in self._batches:
            return batch
        raise StopAsyncIteration


class _Exchange:
    """An answer that is already there; its events come one by one."""

    status = 200
    retry_after_s: float | None = None
    is_stream = True

    def __init__(self, whole: bytes, events: Sequence[bytes]) -> None:
        self._whole, self._events = whole, iter(events)

    async def read(self) -> bytes:
        return self._whole

    async def next_events(self, within_s: float) -> list[bytes]:
        return [event for event in (next(self._events, None),) if event is not None]

    def close(self) -> None:
        pass


class InstantUpstream:
    """An upstream client that answers without any work."""

    def __init__(self, whole: bytes, events: Sequence[bytes]) -> None:
        self._whole, self._events = whole, events

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        connect_s: float,
        within_s: float,
    ) -> Exchange:
        """Return the answer."""
        return _Exchange(self._whole, self._events)


class DiscardingProtocol(asyncio.Protocol):
    """Counts the pieces of an answer and ignores them."""

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces
        self.left = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Count it."""
        self.left -= 1
        if not self.left:
            self.done.set_result(None)

    def ask(self, transport: FakeUpstream) -> asyncio.Future[None]:
        """Start an answer; return a future that is done when all of it has come."""
        self.left, self.done = self._pieces, asyncio.get_running_loop().create_future()
        transport.write(b"")
        return self.done
