"""Send a reply to the client: headers, then a whole body or a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from operator import attrgetter
from typing import NamedTuple

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
    return [(name, value.encode()) for name, read in _BEFORE_ANSWER if (value := read(record))]


def money_headers(record: RequestRecord) -> RawHeaders:
    """Return the headers for cost and saving. Call it only when nothing more can be spent on the request."""
    return [(name, value.encode()) for name, read in _AFTER_ANSWER if (value := read(record))]


def summary(record: RequestRecord) -> bytes:
    """Return the comment that ends a stream: the values that are known only then. Clients ignore comments."""
    cost, _, saved = record.bill()
    values = {
        "model": record.model,
        **({"continued_by": record.continued_by} if record.continued_by else {}),
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


def _failed(record: RequestRecord) -> str:
    failed = [attempt for attempt in record.attempts if attempt.failure]
    return ", ".join([f"{attempt.model}={attempt.failure}" for attempt in failed]) if failed else ""


def _confidence(record: RequestRecord) -> str:
    if not record.judgements or (confidence := record.confidence) is None:
        return ""
    return f"{confidence:.3f}"


def _cost_usd(record: RequestRecord) -> str:
    cost = record.bill().cost
    return "" if cost is None else usd(cost)


def _saved_usd(record: RequestRecord) -> str:
    saved = record.bill().saved
    return "" if saved is None else usd(saved)


class SmallfirstHeader(NamedTuple):
    """One `x-smallfirst-*` header of a response."""

    name: str
    value: Callable[[RequestRecord], str]
    """returns the value; without a value the response does not have the header"""
    when: str
    meaning: str


BEFORE_ANSWER = "before the answer begins"
AFTER_ANSWER = "after the answer: whole answers and errors only"

HEADERS = (
    SmallfirstHeader(
        "x-smallfirst-model",
        attrgetter("model"),
        BEFORE_ANSWER,
        "The name in models.yaml of the model that answered. An error has none.",
    ),
    SmallfirstHeader(
        "x-smallfirst-route",
        attrgetter("route"),
        BEFORE_ANSWER,
        "The route that the request's `model` named, or the name of the model if the request named a model.",
    ),
    SmallfirstHeader(
        "x-smallfirst-reason",
        attrgetter("reason"),
        BEFORE_ANSWER,
        "Why this model answered. [Reasons](reasons.md) lists the values.",
    ),
    SmallfirstHeader(
        "x-smallfirst-structured",
        attrgetter("structured"),
        BEFORE_ANSWER,
        "How the answer came to satisfy the requested format, or why it does not. See the values below.",
    ),
    SmallfirstHeader(
        "x-smallfirst-adapted",
        lambda record: ", ".join(adapted) if (adapted := record.adapted) else "",
        BEFORE_ANSWER,
        "What was changed in the request for the upstream that answered. `top_k=dropped`: it does not support the "
        "field, so the field was not sent. `messages.3.tool_calls.0.arguments={}`: that call had no arguments. "
        "`tools.2=unchecked`: the tool's schema cannot be used, so its calls are not checked. `tools.0=rewritten` or "
        "`response_format=rewritten`: the schema is in another dialect, and was forwarded as it is meant; `described`: "
        "its string formats were described in words. `response_format=in_words`: the upstream takes no such format, so "
        "the prompt describes it, and the answer is checked.",
    ),
    SmallfirstHeader(
        "x-smallfirst-attempts",
        lambda record: str(len(record.attempts)),
        BEFORE_ANSWER,
        "How many requests were sent to upstreams, retries and escalations included.",
    ),
    SmallfirstHeader(
        "x-smallfirst-failed",
        _failed,
        BEFORE_ANSWER,
        "The attempts that failed, in their order, each with its [reason](reasons.md): `small=timeout, small=runaway`. "
        "Missing if none did.",
    ),
    SmallfirstHeader(
        "x-smallfirst-confidence",
        _confidence,
        BEFORE_ANSWER,
        "The estimated probability, 0 to 1, that the answer is as good as the fallback's. Only judged answers have it.",
    ),
    SmallfirstHeader(
        "x-smallfirst-cost-usd",
        _cost_usd,
        AFTER_ANSWER,
        "US dollars that all attempts of the request cost. Missing if the cost of one attempt is unknown.",
    ),
    SmallfirstHeader(
        "x-smallfirst-saved-usd",
        _saved_usd,
        AFTER_ANSWER,
        "US dollars that the fallback would have cost, minus the cost. Negative if a rejected answer made the request "
        "more expensive. Missing if one of the two is unknown.",
    ),
)
"""every `x-smallfirst-*` header, in the order in which they are sent; docs/reference/headers.md is made from it"""

STRUCTURED_VALUES = {
    "none": "No format was requested, or the answer is text although it could have called a tool.",
    "decoded": "The answer was valid as it came.",
    "repaired": "The answer was valid after a repair.",
    "retried": "The answer was valid after a retry on the same rung.",
    "escalated": "The answer was valid after an escalation.",
    "truncated": "The token limit cut the answer, so it is not checked.",
    "refused": "The model refused to answer, so the answer is not checked.",
    "checking": "The stream is checked while it is sent. The verdict is in the comment at its end.",
}
"""the values of `x-smallfirst-structured`, with their meaning"""

_BEFORE_ANSWER = [(header.name.encode(), header.value) for header in HEADERS if header.when == BEFORE_ANSWER]
_AFTER_ANSWER = [(header.name.encode(), header.value) for header in HEADERS if header.when == AFTER_ANSWER]
