"""From a reply to the client's bytes: headers, a whole body or a stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from starlette.types import Send

from router.cost import NANO
from router.record import RequestRecord
from router.types import Reply
from server import sse

RawHeaders = list[tuple[bytes, bytes]]


async def relay(reply: Reply, record: RequestRecord, send: Send) -> None:
    """Send the reply. A stream waits for a slow client, event by event, so nothing piles up here.

    Raises:
        ApiError: the stream broke off; what came before has been sent, `[DONE]` has not.
    """
    record.status = 200
    headers = smallfirst_headers(record)
    if reply.events is None:
        headers += [(b"content-type", b"application/json"), (b"content-length", str(len(reply.body)).encode())]
        headers += money_headers(record)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, *sse.HEADERS]})
    await _stream(reply.events, record, send)


async def _stream(events: AsyncIterator[bytes], record: RequestRecord, send: Send) -> None:
    async for payload in events:
        await send({"type": "http.response.body", "body": sse.event(payload), "more_body": True})
    await send({"type": "http.response.body", "body": summary(record) + sse.DONE})


def smallfirst_headers(record: RequestRecord) -> RawHeaders:
    """Return what is known of the request's way before its answer begins."""
    headers = {
        "model": record.model,
        "route": record.route,
        "reason": record.reason,
        "attempts": str(len(record.attempts)),
        "structured": record.structured,
        "dropped": ", ".join(record.dropped),
    }
    return [(f"x-smallfirst-{name}".encode(), value.encode()) for name, value in headers.items() if value]


def money_headers(record: RequestRecord) -> RawHeaders:
    """Return what the request cost; only when nothing more can be spent on it."""
    money = {"cost": record.cost_nano_usd, "saved": record.saved_nano_usd}
    return [
        (f"x-smallfirst-{name}-usd".encode(), usd(nano).encode()) for name, nano in money.items() if nano is not None
    ]


def summary(record: RequestRecord) -> bytes:
    """Return what only a stream's end can tell, as a comment, which clients ignore."""
    cost, saved = record.cost_nano_usd, record.saved_nano_usd
    known = {
        "model": record.model,
        "attempts": len(record.attempts),
        "cost_usd": None if cost is None else usd(cost),
        "saved_usd": None if saved is None else usd(saved),
    }
    return sse.comment(b"smallfirst " + json.dumps(known, separators=(",", ":")).encode())


def usd(nano: int) -> str:
    """Return nano-dollars as dollars with nine digits, exactly."""
    return f"{'-' if nano < 0 else ''}{abs(nano) // NANO}.{abs(nano) % NANO:09d}"
