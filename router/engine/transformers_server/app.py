"""The HTTP side, a plain ASGI application: a queue before the model, and an end to every answer that nobody awaits."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

from . import answer
from .answer import Answer
from .errors import RequestError
from .events import Event, Finished, Token
from .request import ChatRequest, parse

if TYPE_CHECKING:
    from .model import Prompt  # its module imports torch

STUCK_S = 60.0
"""a model that works on for so long after nobody waits for its answer is stuck; /health says so"""


class Started:
    """The model has begun to work on the answer."""


Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

log = logging.getLogger(__name__)


class ServedModel(Protocol):
    """What the application needs of a model. Each method is called from one thread of its own."""

    def prompt(self, request: ChatRequest) -> Prompt:
        """Write the request as tokens."""
        ...

    def generate(self, prompt: Prompt, emit: Callable[[Event], None], cancelled: Callable[[], bool]) -> None:
        """Generate the answer."""
        ...

    def works(self) -> bool:
        """Return whether the device still computes."""
        ...


class _Work:
    """One answer in the queue or in the model's hands."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.events: asyncio.Queue[Event | Started | None] = asyncio.Queue()
        """None: there will be no more"""
        self.cancelled_at: float | None = None
        self.error: BaseException | None = None

    def cancel(self, now: float) -> None:
        """Say that nobody waits any more."""
        if self.cancelled_at is None:
            self.cancelled_at = now
        self.events.put_nowait(None)

    def end(self, done: asyncio.Future[None]) -> None:
        """Note how the generation ended."""
        self.error = done.exception()
        self.events.put_nowait(None)


class App:
    """Serves `POST /v1/chat/completions` and `GET /health` for one model."""

    def __init__(self, model: ServedModel, name: str, max_wait_s: float) -> None:
        """`max_wait_s`: a request that waits longer for its turn is refused as one too many."""
        self._model, self._name, self._max_wait_s = model, name, max_wait_s
        self._prompts = ThreadPoolExecutor(1, "prompts")
        self._generations = ThreadPoolExecutor(1, "generations")  # one thread: one answer at a time, in order
        self._current: _Work | None = None
        self._broken = False

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        match scope["method"], scope["path"]:
            case "GET", "/health":
                await _respond(send, 200 if self._is_healthy() else 503, b"{}")
            case "POST", "/v1/chat/completions":
                await self._chat(receive, send)
            case _:
                unknown = RequestError("There is no such path here.", code="not_found", status=404)
                await _respond_error(send, unknown)

    def _is_healthy(self) -> bool:
        work = self._current
        stuck = work and work.cancelled_at is not None and time.monotonic() - work.cancelled_at > STUCK_S
        return not (stuck or self._broken)

    async def _chat(self, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if body is None:
            return
        loop = asyncio.get_running_loop()
        try:
            request = parse(_parse_json(body))
            prompt = await loop.run_in_executor(self._prompts, self._model.prompt, request)
        except RequestError as error:
            await _respond_error(send, error)
            return
        except Exception as error:
            await _fail(error, send, begun=False)
            return
        work = _Work(prompt)
        leaving = asyncio.create_task(_cancel_when_client_leaves(receive, work))
        loop.run_in_executor(self._generations, self._generate, work, loop).add_done_callback(work.end)
        try:
            await self._relay(work, send)
        finally:
            work.cancel(time.monotonic())
            leaving.cancel()

    async def _relay(self, work: _Work, send: Send) -> None:
        """Wait for the model. Then send the answer while it is generated, or once it is whole."""
        try:
            if await asyncio.wait_for(work.events.get(), self._max_wait_s) is None:
                return  # the client left
        except asyncio.TimeoutError:  # noqa: UP041 - another class in Python 3.10
            await _respond_error(send, _overloaded(self._max_wait_s))
            return
        request = work.prompt.request
        written = Answer(self._name, int(time.time()), len(work.prompt.tokens), request.calls)
        begun = False
        async for event in _events(work):
            chunk = written.token(event) if isinstance(event, Token) else written.finish(event)
            if request.stream:
                if not begun:
                    begun = True
                    await _begin(send, 200, b"text/event-stream")
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if work.cancelled_at is not None:
            return
        if work.error is not None:
            await _fail(work.error, send, begun=begun)
        elif request.stream:
            usage = written.usage_event() if request.include_usage else b""
            await send({"type": "http.response.body", "body": usage + answer.DONE})
        else:
            await _respond(send, 200, written.whole())

    def _generate(self, work: _Work, loop: asyncio.AbstractEventLoop) -> None:
        """Run in the model's thread."""

        def emit(event: Event | Started) -> None:
            loop.call_soon_threadsafe(work.events.put_nowait, event)

        emit(Started())
        self._current = work
        try:
            self._model.generate(work.prompt, emit, lambda: work.cancelled_at is not None)
        except Exception:
            self._broken = not self._model.works()
            raise
        finally:
            self._current = None


async def _events(work: _Work) -> AsyncIterator[Token | Finished]:
    while isinstance(event := await work.events.get(), Token | Finished):
        yield event


async def _cancel_when_client_leaves(receive: Receive, work: _Work) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel(time.monotonic())


async def _read_body(receive: Receive) -> bytes | None:
    """Return the body, or None if the client left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _parse_json(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError as error:
        raise RequestError(f"The body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(parsed, dict):
        raise RequestError("The body is not an object.", code="invalid_json")
    return parsed


async def _fail(error: BaseException, send: Send, *, begun: bool) -> None:
    log.error("an answer failed: %s: %s", type(error).__name__, error, exc_info=error)
    failure = RequestError(f"{type(error).__name__}: {error}", code="internal_error", status=500)
    if begun:
        await send({"type": "http.response.body", "body": answer.error_event(failure.body())})
    else:
        await _respond_error(send, failure)


def _overloaded(waited_s: float) -> RequestError:
    return RequestError(f"Earlier requests took more than {waited_s:g} s.", code="overloaded", status=503)


async def _respond_error(send: Send, error: RequestError) -> None:
    await _respond(send, error.status, json.dumps(error.body()).encode())


async def _respond(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await _begin(send, status, b"application/json", headers)
    await send({"type": "http.response.body", "body": body})


async def _begin(send: Send, status: int, kind: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    all_headers = [(b"content-type", kind), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": all_headers})
