"""An exchange whose answer is rewritten."""

from __future__ import annotations

from router.upstream.rewritten import rewritten
from tests.support.fakes import FakeExchange


async def test_nothing_is_put_between_if_there_is_nothing_to_rewrite() -> None:
    exchange = FakeExchange(body=b"a")
    assert rewritten(exchange, None) is exchange


async def test_a_body_and_every_event_are_rewritten() -> None:
    exchange = FakeExchange(status=200, body=b"a", steps=[[b"b", b"c"], []], retry_after_s=2.0)
    other = rewritten(exchange, bytes.upper)
    assert (other.status, other.retry_after_s) == (200, 2.0)
    assert await other.read() == b"A"
    assert [await other.next_events(5.0), await other.next_events(7.0)] == [[b"B", b"C"], []]
    assert exchange.waits == [5.0, 7.0]
    other.close()
    assert exchange.closed == 1
