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
import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from tests.support.sockets import refusing_port, silent_port
from tests.support.waiting import NEVER_S, PATIENCE_S

WRITE_BUFFER = 64 * 1024

Behaviour = Callable[["Call"], Awaitable[None]]


class Gone(Exception):
    """The peer closed the connection."""


class Pause(float):
    """Seconds to wait; ends early when the peer leaves."""


class Forever:
    """Steps that are played again and again, until the peer leaves."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps


class Gate(threading.Event):
    """Holds the upstream until the test opens it with `set()`."""


class End:
    """How a behaviour ends when it does not end well."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


CUT = End("CUT")  # the connection is closed in the middle of things
RESET = End("RESET")  # ... by RST
HANG = End("HANG")  # nothing more comes until the peer leaves


class Call:
    """One request as it arrived, and the connection that it came on."""

    def __init__(self, connection: _Connection, head: bytes, body: bytes) -> None:
        request_line, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = request_line.split(" ")
        self.site, _, self.path = self.target.lstrip("/").partition("/")
        self.headers = [(k.lower(), v.strip()) for k, _, v in (line.partition(":") for line in lines)]
        self.body = body
        self.arrived = time.monotonic()
        self.connection = connection
        self.bytes_sent = 0
        self.over = False  # answered to the end
        self.died_unanswered = False
        self._closed = threading.Event()

    @property
    def json(self) -> dict[str, Any]:
        body: dict[str, Any] = json.loads(self.body)
        return body

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name.lower()), None)

    @property
    def came_behind_another(self) -> bool:
        """Whether its connection had been used before, if only for a probe, which may come at any moment."""
        return self.connection.calls[0] is not self

    def mark_closed(self) -> None:
        self._closed.set()

    def wait_closed(self) -> bool:
        """Wait until the peer has closed this call's connection."""
        assert self._closed.wait(PATIENCE_S), f"{self.target}: the connection is still open after {PATIENCE_S} s"
        return True

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    async def send(self, data: bytes) -> None:
        await self.connection.write(data)
        self.bytes_sent += len(data)

    async def play(self, steps: Iterable[Any], encode: Callable[[bytes], bytes] = bytes) -> bool:
        """Play the steps; return whether they came to their end, so that the connection can be used again."""
        for step in steps:
            if isinstance(step, Pause):
                await self._wait(float(step), lambda: False)
            elif isinstance(step, Gate):
                await self._wait(NEVER_S, step.is_set)
            elif isinstance(step, Forever):
                while True:
                    await self.play(step.steps, encode)
            elif step is CUT:
                self.died_unanswered = not self.bytes_sent
                await self.connection.close()
                return False
            elif step is RESET:
                self.died_unanswered = not self.bytes_sent
                self.connection.reset()
                return False
            elif step is HANG:
                await self._wait(NEVER_S, lambda: False)
                return False
            else:
                await self.send(encode(sse(step)))
        return True

    async def _wait(self, seconds: float, ready: Callable[[], bool]) -> None:
        end = time.monotonic() + seconds
        while not ready() and (left := end - time.monotonic()) > 0:
            if self.connection.lost:
                raise Gone
            await asyncio.sleep(min(left, 0.002))


class _Connection(asyncio.Protocol):
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
        self.connections: set[_Connection] = set()
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

    def url(self, site: str) -> str:
        return f"http://127.0.0.1:{self.port}/{site}/v1"

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=512)

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


# Behaviours.


def respond(
    status: int, body: object = b"", headers: dict[str, str] | None = None, *, before: Iterable[Any] = ()
) -> Behaviour:
    """Answer with a whole body: bytes or text as they are, anything else as JSON. `before`: steps before it."""
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    kind = "application/json" if not isinstance(body, bytes | str) else "text/plain"
    lines = {"content-type": kind, "content-length": str(len(data))} | (headers or {})
    return raw(*before, _head(status, lines) + data)


def error(
    status: int,
    message: str = "scripted failure",
    *,
    kind: str = "server_error",
    code: str | int | None = None,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> Behaviour:
    """Answer with an error of OpenAI's shape."""
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return respond(status, body, headers)


def too_long(limit: int = 2048) -> Behaviour:
    """Refuse the prompt as vLLM does."""
    message = (
        f"This model's maximum context length is {limit} tokens. However, your prompt contains at least {limit + 1} "
        f"input tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value={limit + 1})"
    )
    return error(400, message, kind="BadRequestError", code=400, param="input_tokens")


def raw(*steps: Any) -> Behaviour:
    """Play steps whose bytes go to the socket as they are, the head included."""

    async def behave(call: Call) -> None:
        if not await call.play(steps):
            raise Gone

    return behave


def stream(*steps: Any, status: int = 200, headers: dict[str, str] | None = None) -> Behaviour:
    """Stream server-sent events: an event (dict) or bytes is one chunk of the chunked body."""
    lines = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}

    async def behave(call: Call) -> None:
        await call.send(_head(status, lines | (headers or {})))
        if not await call.play(steps, encode=lambda data: b"%x\r\n%b\r\n" % (len(data), data)):
            raise Gone
        await call.send(b"0\r\n\r\n")

    return behave


def answer(
    text: str | None = "Paris.",
    *,
    pieces: Iterable[str] | None = None,
    usage: dict[str, Any] | None = None,
    finish: str | None = "stop",
    message: dict[str, Any] | None = None,
    model: str | None = None,
    logprob: float = -0.01,
) -> Behaviour:
    """Answer as a sound upstream does: whole or streamed, as the request asks; usage and logprobs only when asked.

    `logprob` is that of each piece.
    """
    parts = list(pieces) if pieces is not None else [text] if text else []
    counted = usage if usage is not None else usage_of(10, 2)

    async def behave(call: Call) -> None:
        asked = call.json
        name = model or asked.get("model")
        if asked.get("stream"):
            chat = call.path.endswith("chat/completions")
            events: list[Any] = [first()] if chat else []
            events += [_telling(delta(part) if chat else text_chunk(part), asked, [part], logprob) for part in parts]
            events += [finished(finish) if chat else text_chunk("", finish)]
            if (asked.get("stream_options") or {}).get("include_usage"):
                events.append(usage_event(counted))
            await stream(*({**event, "model": name} for event in events), DONE)(call)
            return
        body: dict[str, Any] = {"id": "chatcmpl-1", "created": 1700000000, "model": name, "usage": counted}
        choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": finish}
        joined = "".join(parts) if parts else text
        if call.path.endswith("chat/completions"):
            body["object"] = "chat.completion"
            choice["message"] = {"role": "assistant", "content": joined, "refusal": None} | (message or {})
        else:
            body["object"] = "text_completion"
            choice["text"] = joined
        await respond(200, _telling(body | {"choices": [choice]}, asked, parts, logprob))(call)

    return behave


def _telling(answer: dict[str, Any], asked: dict[str, Any], pieces: list[str], logprob: float) -> dict[str, Any]:
    if asked.get("logprobs") not in (None, False):
        [choice] = answer["choices"]
        tokens = [{"token": text, "logprob": logprob, "bytes": list(text.encode())} for text in pieces]
        of_completion = {"tokens": pieces, "token_logprobs": [logprob] * len(pieces), "top_logprobs": None}
        choice["logprobs"] = of_completion if "text" in choice else {"content": tokens}
    return answer


# Events of a stream.

DONE = b"data: [DONE]\n\n"


def sse(step: Any) -> bytes:
    """Return the bytes of one event; bytes pass as they are."""
    if isinstance(step, bytes):
        return step
    return b"data: " + json.dumps(step, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def chunk(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "upstream-model"}
    return base | {"choices": choices} | more


def first() -> dict[str, Any]:
    return chunk([{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])


def delta(text: str = "", *, index: int = 0, **fields: Any) -> dict[str, Any]:
    content = {"content": text} if text or not fields else {}
    return chunk([{"index": index, "delta": content | fields, "finish_reason": None}])


def finished(reason: str | None = "stop", *, index: int = 0) -> dict[str, Any]:
    return chunk([{"index": index, "delta": {}, "finish_reason": reason}])


def text_chunk(text: str, finish: str | None = None) -> dict[str, Any]:
    return chunk([{"index": 0, "text": text, "finish_reason": finish}], object="text_completion")


def usage_event(usage: dict[str, Any]) -> dict[str, Any]:
    return chunk([], usage=usage)


def usage_of(prompt: int, completion: int, cached: int | None = None) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    return usage if cached is None else usage | {"prompt_tokens_details": {"cached_tokens": cached}}


def split(data: bytes, size: int = 1) -> list[bytes]:
    """Cut bytes into pieces, each of which becomes one chunk: inside an event, a line, a UTF-8 sequence."""
    return [data[i : i + size] for i in range(0, len(data), size)]


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode("latin-1")
