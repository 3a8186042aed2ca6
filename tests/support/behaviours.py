"""What a scripted upstream does with a request: a behaviour is a function of the call, mostly made of steps.

Steps are bytes or events to send, a pause, a gate that the test opens, a cut.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from tests.support.stream_events import DONE, delta, finished, first, sse, text_chunk, usage_event, usage_of
from tests.support.waiting import NEVER_S, PATIENCE_S

if TYPE_CHECKING:
    from tests.support.upstream import Connection

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

    def __init__(self, connection: Connection, head: bytes, body: bytes) -> None:
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

    @property
    def ended(self) -> bool:
        """Whether it was answered to the end, or its connection is closed."""
        return self.over or self.is_closed

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
            chat = "chat/completions" in call.path
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
        if "chat/completions" in call.path:
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


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    return f"HTTP/1.1 {status} Scripted\r\n{lines}\r\n".encode("latin-1")
