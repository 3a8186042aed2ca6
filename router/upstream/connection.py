"""One connection to an upstream: an answer at a time, read as fast as it is taken and no faster."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from math import inf
from typing import cast

from router.upstream.response import Response

HIGH_WATER_BYTES = 256 * 1024
"""of an answer that wait unread: then no more is read from the socket until they are taken"""
TICK_S = 0.001
"""uvloop's clock counts milliseconds: a timer may ring so much too early"""

# A connection is
# 1. idle: no answer is awaited, and its owner keeps it. Whatever happens on it now, bytes or its end, drops it.
# 2. asked, until the answer is over:
#    a. complete, and the server lets it be used again                                      idle
#    b. complete, but it says `close`, or bytes came behind it, or our request is still on its way   dropped
#    c. failed, or left by whoever asked                                                    dropped
# 3. dropped: its owner has forgotten it, its socket is closed at once.


class Connection(asyncio.Protocol):
    """See above. `keep` is called when it gets idle, `forget` when it is dropped."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keep: Callable[[Connection], None],
        forget: Callable[[Connection], None],
    ) -> None:
        self._loop = loop
        self._keep = keep
        self._forget = forget
        self._transport: asyncio.Transport
        self._poll: select.poll | None = None
        self._response: Response | None = None
        self._paused = False
        self._waiter: asyncio.Future[bool] | None = None
        self._deadline = inf  # of the waiter
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = inf

    def ask(self, request: bytes) -> Response:
        """Send a request; return its answer, of which nothing has come yet."""
        response = self._response = Response()
        if self._transport.is_closing():
            self.drop()
        else:
            self._transport.write(request)
        return response

    def wait(self, deadline: float = inf) -> asyncio.Future[bool]:
        """Return a future: True when something came or the answer is over, False at the deadline (the loop's time).

        There is one timer for all waits: it is set anew only when it rings, or for an earlier deadline.
        """
        self._deadline = deadline
        if deadline < self._rings_at - TICK_S:
            self._set_timer(deadline)
        waiter = self._waiter = self._loop.create_future()
        return waiter

    def resume(self) -> None:
        """Read on: what had come was taken."""
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def drop(self, *, clean: bool = False) -> None:
        """Close the socket now, whatever was still to come or to be sent. Idempotent. `clean`: see `Response.end`."""
        response, self._response = self._response, None
        if response is not None:
            response.end(clean)
        self._forget(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._rings_at = None, inf
        self._transport.abort()
        self._wake(True)

    def time(self) -> float:
        """Return the loop's time, in which deadlines are."""
        return self._loop.time()

    @property
    def closing(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._transport.is_closing()

    @property
    def stale(self) -> bool:
        """Whether an idle one cannot be used: something came on it, or its end, though the loop has not seen it yet."""
        return self.closing or (self._poll is not None and bool(self._poll.poll(0)))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, idle."""
        self._transport = cast(asyncio.Transport, transport)
        if (socket := transport.get_extra_info("socket")) is not None:
            self._poll = select.poll()
            self._poll.register(socket.fileno(), select.POLLIN)

    def data_received(self, data: bytes) -> None:
        """Hand on what came."""
        response = self._response
        if response is None:
            self.drop()
            return
        response.feed(data)
        if response.over:
            self._leave(response)
        elif response.unread > HIGH_WATER_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake(True)

    def eof_received(self) -> None:
        """End. Not only in `connection_lost`: that waits until our request is sent, which may be never."""
        self.drop(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.drop(clean=exc is None)

    def _leave(self, response: Response) -> None:
        if response.reusable and response.complete and not self._transport.get_write_buffer_size():
            self._response = None
            self.resume()
            self._keep(self)
        else:
            self.drop()

    def _wake(self, came: bool) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(came)

    def _set_timer(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, inf
        if self._waiter is None or self._deadline == inf:
            return
        if self._deadline - self._loop.time() > TICK_S:
            self._set_timer(self._deadline)
        else:
            self._wake(False)
