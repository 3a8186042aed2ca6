"""A request on one of our own connections, after its response headers arrived."""

from __future__ import annotations

import asyncio

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.upstream.base import MAX_BODY_BYTES
from router.upstream.connection import Connection
from router.upstream.events import EventDecoder
from router.upstream.response import Response

EVENT_STREAM = "text/event-stream"
TIMEOUT_MESSAGE = "the upstream did not answer in time"


class HttpExchange:
    """Implements `Exchange`. Returns buffered data without suspending. Closes itself when cancelled while waiting."""

    __slots__ = ("_connection", "_deadline", "_decoder", "_response", "retry_after_s", "status")

    def __init__(self, connection: Connection, response: Response, deadline: float) -> None:
        self._connection = connection
        self._response = response
        self._deadline = deadline
        self._decoder = EventDecoder()
        self.status = response.status
        self.retry_after_s = response.retry_after_s

    @property
    def is_stream(self) -> bool:
        """Return whether the body consists of server-sent events."""
        return self._response.content_type.startswith(EVENT_STREAM)

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
                    raise UpstreamFailed(f"the upstream's response is longer than {MAX_BODY_BYTES} bytes")
                body += self._take_chunks()
            elif response.over:
                break
            else:
                try:
                    in_time = await self._connection.wait(self._deadline)
                except asyncio.CancelledError:
                    self.close()
                    raise
                if not in_time:
                    raise UpstreamTimedOut(TIMEOUT_MESSAGE)
        if response.failure:
            raise UpstreamFailed(response.failure)
        return body[0] if len(body) == 1 else b"".join(body)

    async def next_events(self, within_s: float) -> list[bytes]:
        """Return the payloads of the next events, or an empty list at the end of the stream."""
        response = self._response
        deadline = None
        while True:
            if response.chunks:
                chunks = self._take_chunks()
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
                    raise UpstreamTimedOut("the upstream's stream sent nothing in time")

    def close(self) -> None:
        """Drop the connection unless the response has ended."""
        if not self._response.over:
            self._response.fail("the response was closed before its end")
            self._connection.drop()

    def _take_chunks(self) -> list[bytes]:
        chunks = self._response.take_chunks()
        if not self._response.over:  # after the end, another request may already use the connection
            self._connection.resume()
        return chunks
