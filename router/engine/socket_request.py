"""One request to an engine over its private Unix socket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


@asynccontextmanager
async def sent(socket: Path, what: str, body: bytes = b"") -> AsyncIterator[asyncio.StreamReader]:
    """Send a request such as `GET /health`, with a JSON body if one is given. Yield the reader of the answer.

    Raises:
        OSError: the connection failed.
    """
    kind = "Content-Type: application/json\r\n" if body else ""
    head = f"{what} HTTP/1.1\r\nHost: engine\r\n{kind}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(head.encode() + body)
        yield reader
    finally:
        writer.close()


def status_of(answer: bytes) -> int | None:
    """Return the status of an answer, of which the first line is enough; None: it is no answer."""
    match = re.match(rb"HTTP/1\.[01] (\d{3})\b", answer)
    return int(match[1]) if match else None
