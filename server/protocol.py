"""uvicorn's HTTP protocol with limits on a request's head, its own refusals in OpenAI's shape, and fewer writes.

A head is read before anything of ours runs, keys included: without limits, anybody who reaches the port can fill the
memory with headers, or hold connections open with heads that never end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from router.errors import ApiError, BadRequest
from server.envelope import error_response
from server.presence import Presence

MAX_HEAD_BYTES = 64 * 1024  # checked as it comes, so one read of the socket more may be taken in
HEAD_TIMEOUT_S = 30.0


class LimitedHttpProtocol(HttpToolsProtocol):
    """One client's connection."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._presence = Presence()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer, and tell the requests under way."""
        self._end_head()
        self._presence.leave()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes of a head, or of a body's trailers, only as long as they are within the limit."""
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(BadRequest(f"The request's headers are over {MAX_HEAD_BYTES} bytes.", status=431))
            return
        self._head_bytes += len(data)
        super().data_received(data)
        # Most heads come whole and need no timer. Empty lines before one the parser passes over in silence.
        if self._head_timer is None and (self._in_head or (self._head_bytes and not self._answering)):
            self._await_head()

    def on_message_begin(self) -> None:
        """Begin a further head on the same connection."""
        super().on_message_begin()
        self._in_head = True
        self.scope["extensions"] = self._presence.extensions  # type: ignore[typeddict-item]

    def on_headers_complete(self) -> None:
        """Stop waiting: what follows is the body."""
        self._end_head()
        super().on_headers_complete()
        if self.scope["method"] != "HEAD":
            self.cycle.transport = _HeadFirst(self.cycle)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Begin to count anew: the body has a limit of its own."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Count again, from zero."""
        super().on_message_complete()
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(BadRequest(msg, code="invalid_http"))

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        """Close, unless the answer to an earlier request is still under way."""
        self._head_timer = None
        if self._answering:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)
        else:
            self.timeout_keep_alive_handler()

    @property
    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _end_head(self) -> None:
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, error: ApiError) -> None:
        if self.transport.is_closing():
            return
        response = error_response(error, {"connection": "close"})
        head = [b"HTTP/1.1 %d \r\n" % error.status, *(b"%s: %s\r\n" % pair for pair in response.raw_headers), b"\r\n"]
        self.transport.write(b"".join([*head, bytes(response.body)]))
        self.transport.close()


class _HeadFirst:
    """The transport of one answer up to the first bytes of its body, which leave together with its head.

    uvicorn writes both by themselves, each a system call, the dearest part of a short answer.
    """

    __slots__ = ("_cycle", "_head", "_transport")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport = cycle.transport
        self._head = b""

    def write(self, data: bytes) -> None:
        """Keep the head; send it with what follows, and step aside."""
        if not self._cycle.response_started:
            self._transport.write(data)  # 100 Continue
        elif not self._head:
            self._head = data
        else:
            self._cycle.transport = self._transport
            self._transport.write(self._head + data)

    def close(self) -> None:
        """Close; a head that no body followed is sent all the same."""
        if self._head:
            self.write(b"")
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
