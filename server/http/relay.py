"""Send a reply to the client: headers, then a whole body or a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
from starlette.types import Send

from router.record import RequestRecord
from router.types import NANO, Reply
from server.http import sse

RawHeaders = list[tuple[bytes, bytes]]


async def relay(reply: Reply, record: RequestRecord, send: Send) -> None:
    """Send the reply. A stream waits for a slow client, so events do not pile up in memory.

    Raises:
        ApiError: the stream broke off. The events before have been sent, `[DONE]` has not.
    """
    if reply.events is None:
        record.status = 200
        headers = smallfirst_headers(record)
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(reply.body))]
        headers += money_headers(record)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": reply.body})
        return
    await start_stream(record, send)
    await _stream(reply.events, record, send)


async def start_stream(record: RequestRecord, send: Send) -> None:
    """Send the headers of a stream, with the values known so far. Later calls do nothing."""
    if not record.status:
        record.status = 200
        headers = [*smallfirst_headers(record), *sse.HEADERS]
        await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _stream(events: AsyncIterator[list[bytes]], record: RequestRecord, send: Send) -> None:
    async for payloads in events:
        await send({"type": "http.response.body", "body": sse.events(payloads), "more_body": True})
    await send({"type": "http.response.body", "body": summary(record) + sse.DONE})


def smallfirst_headers(record: RequestRecord) -> RawHeaders:
    """Return the headers whose values are known before the answer begins."""
    values = (
        (b"x-smallfirst-model", record.model),
        (b"x-smallfirst-route", record.route),
        (b"x-smallfirst-reason", record.reason),
        (b"x-smallfirst-structured", record.structured),
        (b"x-smallfirst-dropped", ", ".join(record.dropped)),
    )
    headers = [(name, value.encode()) for name, value in values if value]
    headers.append((b"x-smallfirst-attempts", b"%d" % len(record.attempts)))
    if record.judgements and (confidence := record.confidence) is not None:
        headers.append((b"x-smallfirst-confidence", b"%.3f" % confidence))
    return headers


def money_headers(record: RequestRecord) -> RawHeaders:
    """Return the headers for cost and saving. Call it only when nothing more can be spent on the request."""
    cost, _, saved = record.bill()
    headers = []
    if cost is not None:
        headers.append((b"x-smallfirst-cost-usd", usd(cost).encode()))
    if saved is not None:
        headers.append((b"x-smallfirst-saved-usd", usd(saved).encode()))
    return headers


def summary(record: RequestRecord) -> bytes:
    """Return the comment that ends a stream: the values that are known only then. Clients ignore comments."""
    cost, _, saved = record.bill()
    values = {
        "model": record.model,
        "reason": record.reason,
        "confidence": None if record.confidence is None else round(record.confidence, 3),
        "attempts": len(record.attempts),
        "structured": record.structured or None,
        "cost_usd": None if cost is None else usd(cost),
        "saved_usd": None if saved is None else usd(saved),
    }
    return sse.comment(b"smallfirst " + msgspec.json.encode(values))


def usd(nano: int) -> str:
    """Return nano-dollars as dollars with nine decimals, exactly."""
    sign, (dollars, rest) = "-" if nano < 0 else "", divmod(abs(nano), NANO)
    return f"{sign}{dollars}.{rest:09d}"
