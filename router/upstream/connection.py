"""One connection to an upstream. It carries one request at a time and applies backpressure to the response."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from math import inf
from typing import cast

from router.upstream.response import Response

HIGH_WATER_BYTES = 256 * 1024
"""The socket is paused while more bytes of a response than this wait to be read."""
CLOCK_RESOLUTION_S = 0.001
"""uvloop's clock counts milliseconds, so a timer may fire this much too early."""

# A connection is in one of these states:
# 1. idle: no response is expected, and the owner keeps it. Any event, bytes or the end, drops it.
# 2. active, until the response ends:
#    a. complete, and the server allows reuse                                               -> idle
#    b. complete, but with `close`, with extra bytes, or with the request not fully sent    -> dropped
#    c. failed, or cancelled by the caller                                                  -> dropped
# 3. dropped: the owner has removed it, and the socket is closed at once.


class Connection(asyncio.Protocol):
    """A connection with the states above. It calls `on_idle` when it becomes idle and `on_drop` when it is dropped."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_idle: Callable[[Connection], None],
        on_drop: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._on_idle = on_idle
        self._on_drop = on_drop
        self._transport: asyncio.Transport
        self._poll: select.poll | None = None
        self._response: Response | None = None
        self._paused = False
        self._waiter: asyncio.Future[bool] | None = None
        self._deadline = inf  # of the waiter
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_at = inf

    def send_request(self, request: bytes) -> Response:
        """Send a request and return its response, which is still empty."""
        response = self._response = Response()
        if self._transport.is_closing():
            self.drop()
        else:
            self._transport.write(request)
        return response

    def wait(self, deadline: float = inf) -> asyncio.Future[bool]:
        """Return a future: True when data arrived or the response ended, False at the deadline (in loop time).

        All waits share one timer. It is rescheduled only when it fires, or for an earlier deadline.
        """
        self._deadline = deadline
        if deadline < self._timer_due_at - CLOCK_RESOLUTION_S:
            self._set_timer(deadline)
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def resume(self) -> None:
        """Resume reading from the socket after the buffered data was taken."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def drop(self, *, clean: bool = False) -> None:
        """Close the socket at once and discard pending data. Idempotent. `clean`: see `Response.end`."""
        response, self._response = self._response, None
        if response is not None:
            response.end(clean)
        self._on_drop(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_due_at = None, inf
        self._transport.abort()
        self._resolve_waiter(True)

    def time(self) -> float:
        """Return the loop's time, the clock of every deadline."""
        return self._loop.time()

    @property
    def closing(self) -> bool:
        """Whether the connection can take no more requests."""
        return self._transport.is_closing()

    @property
    def stale(self) -> bool:
        """Whether an idle connection is unusable: data or its end arrived, even if the loop has not seen it yet."""
        return self.closing or (self._poll is not None and bool(self._poll.poll(0)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start in the idle state."""
        self._transport = cast(asyncio.Transport, transport)
        if (socket := transport.get_extra_info("socket")) is not None:
            self._poll = select.poll()
            self._poll.register(socket.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Pass received bytes to the current response."""
        response = self._response
        if response is None:
            self.drop()
            return
        response.feed(data)
        if response.over:
            self._finish_response(response)
        elif response.unread > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._resolve_waiter(True)

    def eof_received(self) -> None:
        """Drop the connection. `connection_lost` alone would wait until the request is sent, which may never happen."""
        self.drop(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Drop the connection."""
        self.drop(clean=exc is None)

    def _finish_response(self, response: Response) -> None:
        if response.reusable and response.complete and not self._transport.get_write_buffer_size():
            self._response = None
            self.resume()
            self._on_idle(self)
        else:
            self.drop()

    def _resolve_waiter(self, in_time: bool) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(in_time)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due_at = at
        self._timer = self._loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        self._timer, self._timer_due_at = None, inf
        if self._waiter is None or self._deadline == inf:
            return
        if self._deadline - self._loop.time() > CLOCK_RESOLUTION_S:
            self._set_timer(self._deadline)
        else:
            self._resolve_waiter(False)
