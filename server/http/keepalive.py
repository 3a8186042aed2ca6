"""Comments to the client of a held stream, because proxies and clients close a connection that is silent."""

from __future__ import annotations

import asyncio
from time import monotonic
from types import TracebackType

from starlette.types import Message, Send

from router.record import RequestRecord
from server.http import sse
from server.http.relay import start_stream

COMMENT_INTERVAL_S = 10.0
"""silence before a comment is sent; proxies close connections that are silent for 30 to 60 s"""


class KeepAlive:
    """`async with` it around an answer: while the stream is held, it sends a comment every COMMENT_INTERVAL_S.

    The headers are sent with the first comment. From then on an error is an event of the stream.
    """

    def __init__(self, record: RequestRecord, send: Send, *, stream: bool) -> None:
        self._record = record
        self._send = send
        self._stream = stream
        self._timer: asyncio.TimerHandle | None = None
        self._comment_task: asyncio.Task[None] | None = None
        self._last_sent_at = monotonic()
        self._is_sending = False

    async def __aenter__(self) -> KeepAlive:
        if self._stream:
            self._start_timer(COMMENT_INTERVAL_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def send(self, message: Message) -> None:
        """Send a part of the answer. Before the last part the comments stop."""
        if message["type"] == "http.response.body" and not message.get("more_body"):
            await self.stop()
        if self._comment_task is not None:
            await self.finish_comment()
        self._is_sending = True
        try:
            await self._send(message)
        finally:
            self._is_sending, self._last_sent_at = False, monotonic()

    async def finish_comment(self) -> None:
        """Wait until a comment that is being sent is complete, headers included."""
        if self._comment_task is not None:
            await self._comment_task
            self._comment_task = None

    async def stop(self) -> None:
        """Stop the comments, after the one that is being sent. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.finish_comment()

    def _start_timer(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        left_s = self._last_sent_at + COMMENT_INTERVAL_S - monotonic()
        if self._record.held and not self._is_sending and left_s <= 0:
            self._comment_task = asyncio.create_task(self._send_comment())
        else:
            self._start_timer(left_s if left_s > 0 else COMMENT_INTERVAL_S)

    async def _send_comment(self) -> None:
        await start_stream(self._record, self._send)
        await self._send({"type": "http.response.body", "body": sse.comment(b"waiting"), "more_body": True})
        self._last_sent_at = monotonic()
        if self._timer is not None:
            self._start_timer(COMMENT_INTERVAL_S)
