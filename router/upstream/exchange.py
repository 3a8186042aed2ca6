"""One request whose answer's headers have come, on a connection of ours."""

from __future__ import annotations

import asyncio

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.upstream.base import MAX_BODY_BYTES
from router.upstream.connection import Connection
from router.upstream.events import EventDecoder
from router.upstream.response import Response

LATE = "the upstream did not answer in time"


class HttpExchange:
    """See `Exchange`. What has come is returned without suspending. Cancelled while it waits, it is closed."""

    __slots__ = ("_connection", "_deadline", "_decoder", "_response", "retry_after_s", "status")

    def __init__(self, connection: Connection, response: Response, deadline: float) -> None:
        self._connection = connection
        self._response = response
        self._deadline = deadline
        self._decoder = EventDecoder()
        self.status = response.status
        self.retry_after_s = response.retry_after_s

    async def read(self) -> bytes:
        """Return the whole body."""
        response = self._response
        body: list[bytes] = []
        size = 0
        while True:
            if response.chunks:
                size += response.unread
                if size > MAX_BODY_BYTES:
                    self.close()
                    raise UpstreamFailed(f"the upstream's answer is longer than {MAX_BODY_BYTES} bytes")
                body += self._take()
            elif response.over:
                break
            else:
                try:
                    in_time = await self._connection.wait(self._deadline)
                except asyncio.CancelledError:
                    self.close()
                    raise
                if not in_time:
                    raise UpstreamTimedOut(LATE)
        if response.failure:
            raise UpstreamFailed(response.failure)
        return body[0] if len(body) == 1 else b"".join(body)

    async def next_events(self, within_s: float) -> list[bytes]:
        """Return the payloads of the events that come next; empty at the stream's end."""
        response = self._response
        deadline = None
        while True:
            if response.chunks:
                chunks = self._take()
                if events := self._decoder.feed(chunks[0] if len(chunks) == 1 else b"".join(chunks)):
                    return events
            elif response.failure:
                raise UpstreamFailed(response.failure)
            elif response.complete:
                return self._decoder.finish()
            else:
                now = self._connection.time()
                if deadline is None:
                    deadline = now + within_s
                try:
                    in_time = now < deadline and await self._connection.wait(deadline)
                except asyncio.CancelledError:
                    self.close()
                    raise
                if not in_time:
                    raise UpstreamTimedOut("the upstream's stream stood still for too long")

    def close(self) -> None:
        """Drop the connection unless the answer has come to its end."""
        if not self._response.over:
            self._response.fail("the answer was left before its end")
            self._connection.drop()

    def _take(self) -> list[bytes]:
        chunks = self._response.take()
        if not self._response.over:  # else the connection may be another's by now
            self._connection.resume()
        return chunks
