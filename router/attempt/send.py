"""One attempt's request: written in the dialect of its upstream and sent on a lease."""

from __future__ import annotations

from time import monotonic

import msgspec

from router.attempt.adapting import Adapting
from router.attempt.event_source import EventSource
from router.attempt.pace import Pace
from router.replicas.pool import Lease
from router.upstream.base import Upstream
from router.upstream.dialects import DIALECTS
from router.upstream.rewritten import rewritten


async def send(upstream: Upstream, adapting: Adapting, lease: Lease, attempt_id: str) -> EventSource:
    """Send the adapted call to the lease's replica, and return its answer, of which only the headers have arrived.

    Raises:
        ApiError: the upstream refused the call, or could not be asked.
    """
    asked, model, dialect = adapting.asked, lease.model, DIALECTS[lease.model.engine]
    fields, adapted = dialect.body(asked, model)
    lease.attempt.adapted = (*asked.adapted, *adapting.write(fields), *adapted)
    sent_at = monotonic()
    end_by = sent_at + model.timeouts.total_s
    is_stream = asked.stream and not asked.is_assembled
    first_by = min(sent_at + model.timeouts.first_byte_s, end_by) if is_stream else end_by
    exchange = lease.exchange = await upstream.send(
        "POST",
        lease.replica.endpoint_url(asked.endpoint.path),
        headers=dialect.headers(model, attempt_id),
        body=msgspec.json.encode(fields),
        connect_s=model.timeouts.connect_s,
        within_s=first_by - sent_at,
    )
    if exchange.status != 200:
        raise dialect.refusal(model, exchange.status, await exchange.read(), exchange.retry_after_s)
    lease.attempt.answered = True
    pace = Pace.of(model.timeouts) if is_stream else None
    return EventSource(lease, rewritten(exchange, dialect.rewrite(asked)), dialect, sent_at, first_by, end_by, pace)
