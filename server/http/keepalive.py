"""Comments for the client of a stream whose answer is held back: a silent connection looks like a dead one."""

from __future__ import annotations

import asyncio
from time import monotonic
from types import TracebackType

from starlette.types import Message, Send

from router.record import RequestRecord
from server.http import sse
from server.http.relay import start_stream

SILENCE_S = 10.0
"""without a word, before a comment; proxies cut connections that are silent for 30 to 60 s"""


class KeepAlive:
    """`async with` it around an answer that is sent through it: while it is held, a comment ends every SILENCE_S.

    The first one takes the headers along: from then on an error is an event of the stream.
    """

    def __init__(self, record: RequestRecord, send: Send, *, stream: bool) -> None:
        self._record = record
        self._send = send
        self._stream = stream
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None
        self._spoken = monotonic()
        self._busy = False

    async def __aenter__(self) -> KeepAlive:
        if self._stream:
            self._wait(SILENCE_S)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def send(self, message: Message) -> None:
        """Send a part of the answer; before its last one the comments end."""
        if message["type"] == "http.response.body" and not message.get("more_body"):
            await self.stop()
        await self.settle()
        self._busy = True
        try:
            await self._send(message)
        finally:
            self._busy, self._spoken = False, monotonic()

    async def settle(self) -> None:
        """Let a comment be sent to its end, headers included."""
        if self._sending is not None:
            await self._sending
            self._sending = None

    async def stop(self) -> None:
        """Send nothing more; what is being sent is sent. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self.settle()

    def _wait(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._speak)

    def _speak(self) -> None:
        left_s = self._spoken + SILENCE_S - monotonic()
        if self._record.held and not self._busy and left_s <= 0:
            self._sending = asyncio.create_task(self._comment())
        else:
            self._wait(left_s if left_s > 0 else SILENCE_S)

    async def _comment(self) -> None:
        await start_stream(self._record, self._send)
        await self._send({"type": "http.response.body", "body": sse.comment(b"waiting"), "more_body": True})
        self._spoken = monotonic()
        if self._timer is not None:
            self._wait(SILENCE_S)
