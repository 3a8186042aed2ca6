"""Comments for the client of a stream whose answer is held back: a silent connection looks like a dead one."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Send

from router.record import RequestRecord
from server import sse
from server.relay import start_stream

SILENCE_S = 10.0
"""between two comments, and before the first; proxies cut connections that are silent for 30 to 60 s"""


class KeepAlive:
    """`async with` it until the answer may leave: while it is held, a comment goes out every SILENCE_S.

    The first one takes the headers along: from then on an error is an event of the stream.
    """

    def __init__(self, record: RequestRecord, send: Send, *, stream: bool) -> None:
        self._record = record
        self._send = send
        self._stream = stream
        self._timer: asyncio.TimerHandle | None = None
        self._sending: asyncio.Task[None] | None = None

    async def __aenter__(self) -> KeepAlive:
        if self._stream:
            self._wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Send nothing more; what is being sent is sent. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._sending is not None:
            await self._sending
            self._sending = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SILENCE_S, self._speak)

    def _speak(self) -> None:
        if self._record.held:
            self._sending = asyncio.create_task(self._comment())
        else:
            self._wait()

    async def _comment(self) -> None:
        await start_stream(self._record, self._send)
        await self._send({"type": "http.response.body", "body": sse.comment(b"waiting"), "more_body": True})
        if self._timer is not None:
            self._wait()
