"""uvicorn's HTTP protocol with limits on a request's head, errors in OpenAI's shape, and fewer writes.

uvicorn reads the head before the app runs, so before client keys are checked. Without limits, anybody who reaches the
port can fill the memory with headers, or keep connections open with heads that never end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import httptools
from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from router.errors import ApiError, BadRequest
from server.http.disconnect import DisconnectWatch
from server.http.envelope import error_response

MAX_HEAD_BYTES = 64 * 1024  # checked on arrival, so the head can exceed it by one read of the socket
HEAD_TIMEOUT_S = 30.0
STALLED_CLIENT_TIMEOUT_S = 120.0
"""a client that reads nothing for so long is disconnected: it occupies a slot, a lease and a connection"""
_HEAD_CALLBACKS = ("on_message_begin", "on_url", "on_header", "on_headers_complete")
_FRAMING = (b"content-length", b"transfer-encoding")


class LimitedHttpProtocol(HttpToolsProtocol):
    """One client's connection."""

    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer for the first head."""
        super().connection_made(transport)
        self._disconnect_watch = DisconnectWatch(self.loop)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer, and cancel the requests under way."""
        self._stop_head_timer()
        self._disconnect_watch.client_left()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes of a head, or of a body's trailers, as long as they are within the limit."""
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(BadRequest(f"The request's headers are over {MAX_HEAD_BYTES} bytes.", status=431))
            return
        self._head_bytes += len(data)
        self._unset_keepalive_if_required()
        self._parse(data)
        # Most heads arrive whole and need no timer. Two other things can arrive while no response is under way: empty
        # lines, which the parser ignores, or a body whose response was sent without waiting for it.
        has_no_other_timer = not self._is_responding and self.timeout_keep_alive_task is None
        if self._head_timer is None and (self._in_head or has_no_other_timer) and not self.transport.is_closing():
            self._start_head_timer()

    def on_message_begin(self) -> None:
        """Mark the start of a head."""
        super().on_message_begin()
        self._in_head = True
        self.scope["extensions"] = self._disconnect_watch.extensions  # type: ignore[typeddict-item]

    def on_headers_complete(self) -> None:
        """Stop the timer, because the body follows."""
        self._stop_head_timer()
        super().on_headers_complete()
        self.cycle.__class__ = (
            FastResponseCycle  # uvicorn has no option for the class; the cycle's task has not started yet
        )

    def on_body(self, body: bytes) -> None:
        """Reset the count of head bytes. The middleware limits the body."""
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Reset the count, and keep reading: without reading, a disconnect of the client is not noticed."""
        if self.parser.should_upgrade():  # only the parser ends here; `_read_on_after_offer`
            return
        super().on_message_complete()
        self._head_bytes = 0
        if not self.pipeline:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """Refuse a request that is not valid HTTP."""
        self._refuse(BadRequest(msg, code="invalid_http"))

    def _parse(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        try:
            while rest:
                try:
                    self.parser.feed_data(rest)
                except httptools.HttpParserUpgrade as offer:
                    rest = memoryview(rest)[offer.args[0] :]
                    self._read_on_after_offer()
                else:
                    return
        except httptools.HttpParserError:
            self.send_400_response("This is not valid HTTP/1.1. The server speaks HTTP/1.1, without TLS.")

    def _read_on_after_offer(self) -> None:
        """Read the request as if it offered no upgrade to another protocol, which a server may ignore (RFC 9110, 7.8).

        Every Java client offers h2c. The parser stops after the head of such a request, so a new one continues. First
        it gets a head of its own, with the same framing, whose callbacks are skipped.
        """
        has_begun = False

        def unless_skipped(callback: Callable[..., None]) -> Callable[..., None]:
            return lambda *arguments: callback(*arguments) if has_begun else None

        callbacks: dict[str, Any] = {name: unless_skipped(getattr(self, name)) for name in _HEAD_CALLBACKS}
        callbacks |= {"on_body": self.on_body, "on_message_complete": self.on_message_complete}
        self.parser = httptools.HttpRequestParser(SimpleNamespace(**callbacks))
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        framing = b"".join(b"%b: %b\r\n" % header for header in self.headers if header[0] in _FRAMING)
        self.parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n" % framing)
        has_begun = True

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._on_head_timeout)

    def _on_head_timeout(self) -> None:
        """Close the connection, unless the response to an earlier request is still under way."""
        self._head_timer = None
        if self._is_responding:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._on_head_timeout)
        else:
            self.timeout_keep_alive_handler()

    @property
    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _stop_head_timer(self) -> None:
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


class FastResponseCycle(RequestResponseCycle):
    """One request and its response, with a `send` that takes a third of uvicorn's time and half of its writes.

    The head is written together with the first part of the body. Each write is a system call, which is the most
    expensive part of a short response. All headers come from this server, with names in lower case, so they are
    checked for line breaks together and not one by one.
    """

    _head = b""
    _is_close_delimited = False  # HTTP/1.0 has no chunks: the body ends with the connection

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """Send a part of the response. Wait for a client that reads slowly, up to STALLED_CLIENT_TIMEOUT_S."""
        if message["type"] == "http.response.start" and not self.response_started:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._head = self._encode_head(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self.response_started and not self.response_complete:
            if self.flow.write_paused:
                await self._drain()
            if not self.disconnected:
                self._send_body(message.get("body", b""), last=not message.get("more_body", False))
        elif self.disconnected:
            return
        else:
            raise RuntimeError(f"Unexpected ASGI message {message['type']!r}.")

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(STALLED_CLIENT_TIMEOUT_S):
                await self.flow.drain()
        except TimeoutError:
            self.disconnected = True
            self.transport.abort()

    def _encode_head(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        lines = [STATUS_LINE[status], *map(b"%b: %b\r\n".__mod__, (*self.default_headers, *headers))]
        by_name = dict(headers)
        if (length := by_name.get(b"content-length")) is not None:
            self.expected_content_length, self.chunked_encoding = int(length), False
        if has_close_header := by_name.get(b"connection") == b"close":
            self.keep_alive = False
        has_body = self.scope["method"] != "HEAD" and status not in (204, 304)
        self._is_close_delimited = self.chunked_encoding is None and self.scope["http_version"] == "1.0"
        if self.chunked_encoding is None and has_body and not self._is_close_delimited:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        if not (self.keep_alive or has_close_header):
            lines.append(b"connection: close\r\n")
        head = b"".join([*lines, b"\r\n"])
        if head.count(b"\n") != len(lines) + 1 or head.count(b"\r") != len(lines) + 1:
            raise RuntimeError("A header holds a line break.")
        return head

    def _send_body(self, body: bytes, *, last: bool) -> None:
        if self.scope["method"] == "HEAD":
            body, self.expected_content_length = b"", 0
        elif self.chunked_encoding:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if last:
                body += b"0\r\n\r\n"
        elif not self._is_close_delimited:
            self.expected_content_length -= len(body)
        if self.expected_content_length < 0 or (last and self.expected_content_length):
            raise RuntimeError("The response's body is not as long as its content-length.")
        head, self._head = self._head, b""
        self.transport.write(head + body)
        if last:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
