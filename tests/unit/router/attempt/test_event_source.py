"""The limits of each wait, by a clock that the test sets."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

import pytest

from router.attempt import event_source
from router.attempt.event_source import DRAIN_S, EventSource
from router.attempt.pace import Pace
from router.config.model_options import Timeouts
from router.config.models import Model
from router.errors import ApiError, BadRequest, UpstreamFailed, UpstreamTimedOut
from router.upstream.dialects.openai import OpenAIDialect
from tests.support.fakes import FakeExchange, model, pool

IDLE_S, FIRST_BY, END_BY = 30.0, 1010.0, 1100.0
EVENTS = [b"1", b"2"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    one = Clock()
    monkeypatch.setattr(event_source, "monotonic", one)
    return one


class Refusing(OpenAIDialect):
    """Remembers what it was asked to read."""

    def refusal(self, model: Model, status: int, body: bytes, retry_after_s: float | None) -> ApiError:
        self.read = (model.name, status, body, retry_after_s)
        return BadRequest("refused")


def source(steps: Sequence[Any] = (), dialect: Any = None) -> tuple[EventSource, FakeExchange]:
    exchange = FakeExchange(steps=steps)
    lease = pool(model(timeouts=Timeouts(idle_s=IDLE_S))).acquire(monotonic())
    return EventSource(lease, exchange, dialect or OpenAIDialect(), 0.0, FIRST_BY, END_BY), exchange


async def next_events(one: EventSource) -> list[bytes]:
    """What a stream does."""
    events = await one.exchange.next_events(one.may_wait_s())
    one.first_by = None
    return events


async def test_the_first_event_has_a_limit_of_its_own_and_the_others_that_of_silence(clock: Clock) -> None:
    one, exchange = source([EVENTS, EVENTS])
    clock.now += 4
    assert await next_events(one) == EVENTS
    assert one.first_by is None
    clock.now += 50  # the client reads slowly
    assert await next_events(one) == EVENTS
    assert exchange.waits == [6.0, IDLE_S]


async def test_no_wait_is_longer_than_what_is_left_of_all(clock: Clock) -> None:
    one, exchange = source([EVENTS, EVENTS])
    await next_events(one)
    clock.now = END_BY - 7
    await next_events(one)
    assert exchange.waits[1] == 7.0


async def test_when_the_time_for_all_is_over_nothing_is_read(clock: Clock) -> None:
    one, exchange = source([EVENTS])
    clock.now = END_BY - 0.5
    assert not one.is_overdue
    clock.now = END_BY
    assert one.is_overdue
    with pytest.raises(UpstreamTimedOut, match="exceeded its total time limit"):
        await next_events(one)
    assert exchange.waits == []


async def test_an_error_does_not_count_as_the_first_event(clock: Clock) -> None:
    one, _ = source([UpstreamFailed("cut")])
    with pytest.raises(UpstreamFailed):
        await next_events(one)
    assert one.first_by == FIRST_BY


# --- the speed of a stream's first seconds


def probed(steps: Sequence[Any], end_by: float | None) -> tuple[EventSource, FakeExchange]:
    one, exchange = source(steps)
    one.first_by = None
    one.pace = Pace(2.0, 3.0)
    one.pace.end_by = end_by
    one.lease.model = model(timeouts=Timeouts(idle_s=IDLE_S, min_tokens_per_s=2.0))
    return one, exchange


async def test_before_the_first_token_no_speed_is_asked_for(clock: Clock) -> None:
    one, exchange = probed([EVENTS], None)
    assert await one.next_probed_events() == EVENTS
    assert exchange.waits == [IDLE_S]


async def test_the_next_token_must_come_before_the_probe_ends(clock: Clock) -> None:
    one, exchange = probed([EVENTS, UpstreamTimedOut("nothing came")], clock.now + 2)
    assert await one.next_probed_events() == EVENTS
    with pytest.raises(UpstreamTimedOut, match="less than 2 tokens a second") as caught:
        await one.next_probed_events()
    assert caught.value.code == "upstream_too_slow"
    assert exchange.waits == [2.0, 2.0]


async def test_what_has_come_when_the_probe_ends_is_still_read(clock: Clock) -> None:
    """However late this process comes to read it."""
    one, exchange = probed([EVENTS], clock.now - 5)
    assert await one.next_probed_events() == EVENTS
    assert exchange.waits == [0.0]


async def test_silence_in_the_probe_is_silence(clock: Clock) -> None:
    one, exchange = probed([UpstreamTimedOut("nothing came")], clock.now + IDLE_S + 1)
    with pytest.raises(UpstreamTimedOut, match="nothing came"):
        await one.next_probed_events()
    assert exchange.waits == [IDLE_S]


@pytest.mark.parametrize("end", [[], UpstreamFailed("cut"), UpstreamTimedOut("silent")])
async def test_draining_waits_a_moment_and_never_fails(end: Any) -> None:
    one, exchange = source([end])
    await one.drain()
    assert exchange.waits == [DRAIN_S]


def test_the_dialect_says_what_an_error_event_means() -> None:
    dialect = Refusing()
    one, _ = source(dialect=dialect)
    assert one.refusal({"code": 429}).message == "refused"
    assert dialect.read == ("slm", 429, b'{"error":{"code":429}}', None)
