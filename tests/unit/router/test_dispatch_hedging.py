"""A second replica beside one that is slow to begin: over fakes, where slow means never."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from router.attempt import hedge
from router.attempt.hedge import HEDGE_FLOOR
from router.config.models import Timeouts
from router.errors import ApiError, UpstreamFailed, UpstreamRejected, UpstreamTimedOut
from router.replicas.begin_times import MIN_SAMPLES
from router.replicas.breaker import Breaker
from tests.support.cancelling import cancel_after
from tests.support.failing import CUT, FULL
from tests.support.fakes import HANG, ROLE, FakeExchange, call, chunk, large, model, refuses, streams, usage_chunk
from tests.support.inprocess import Dispatching

ANSWER = [ROLE, chunk("Pa"), chunk("ris."), chunk(finish="stop")]
LATE = streams([HANG])
"""sends its headers, and nothing more"""


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hedge, "MIN_WAIT_S", 0.0)


def hedging(script: dict[str, list[Any]], *, samples: int = MIN_SAMPLES, **entry: Any) -> Dispatching:
    """Two replicas, of which `slm-1` is asked first, and what is known of earlier streams: they began at once."""
    gateway = Dispatching([model(replicas=2, **entry)], {"slm-0": [streams()], "slm-1": [streams()]} | script)
    for _ in range(samples):
        gateway.dispatcher.hedging.stats["slm"].begin_times.note(0.0, monotonic())
    return gateway


async def test_a_stream_that_begins_late_is_taken_from_the_replica_that_begins_first() -> None:
    gateway = hedging({"slm-1": [LATE]})
    assert await gateway.ask(stream=True) == ANSWER
    assert gateway.tried == [("slm/1", "hedged"), ("slm/0", "")]
    assert gateway.record.hedges == [("slm", "won")]
    assert gateway.headers["attempts"] == "2"
    assert gateway.record.retries == []
    gateway.all_is_released()
    assert [one.breaker.failures for one in gateway.pools["slm"].replicas] == [0, 0], "a slow start is no failure"


async def test_also_where_it_is_late_with_its_headers() -> None:
    gateway = hedging({"slm-1": [lambda: HANG]})
    assert await gateway.ask(stream=True) == ANSWER
    assert gateway.tried == [("slm/1", "hedged"), ("slm/0", "")]
    gateway.all_is_released()


async def test_the_first_request_may_still_win() -> None:
    slow = [ROLE], [chunk("slow")], [chunk(finish="stop"), b"[DONE]"]
    gateway = hedging({"slm-1": [lambda: Slow(steps=slow)], "slm-0": [LATE]})
    assert await gateway.ask(stream=True) == [ROLE, chunk("slow"), chunk(finish="stop")]
    assert gateway.tried == [("slm/0", "hedged"), ("slm/1", "")]
    assert gateway.record.hedges == [("slm", "lost")]
    assert gateway.record.model == "slm"
    gateway.all_is_released()


class Slow(FakeExchange):
    """Begins when the other replica has been asked."""

    async def next_events(self, within_s: float) -> list[bytes]:
        if not self.waits:
            for _ in range(20):
                await hedge.asyncio.sleep(0)
        return await super().next_events(within_s)


async def test_what_is_cancelled_is_paid_for() -> None:
    """The upstream has read the prompt, and most providers charge for it."""
    gateway = hedging({"slm-1": [lambda: HANG]}, price=large().price)
    await gateway.ask(stream=True)
    cancelled, answered = gateway.record.attempts
    assert cancelled.estimate is not None
    assert cancelled.estimate.prompt > 0
    assert cancelled.cost_nano_usd
    assert answered.cost_nano_usd
    assert gateway.record.cost_nano_usd == cancelled.cost_nano_usd + answered.cost_nano_usd


async def test_each_request_has_an_id_of_its_own() -> None:
    gateway = hedging({"slm-1": [LATE]})
    await gateway.ask(stream=True)
    assert [sent.headers["X-Request-Id"] for sent in gateway.upstream.sent] == ["req_1-1", "req_1-2"]


async def test_a_stream_in_time_is_asked_for_once() -> None:
    gateway = hedging({})
    gateway.dispatcher.hedging.stats["slm"].begin_times.note(9.0, monotonic())
    gateway.dispatcher.hedging.stats["slm"].begin_times.note(9.0, monotonic())
    assert await gateway.ask(stream=True) == ANSWER
    assert gateway.tried == [("slm/1", "")]
    assert gateway.record.hedges == []
    gateway.all_is_released()


# --- when no second replica is asked

BRIEF = Timeouts(first_byte_s=0.05)


async def _is_alone(gateway: Dispatching, **fields: Any) -> None:
    with pytest.raises(ApiError):
        await gateway.ask(call(**fields))
    assert gateway.record.hedges == []
    gateway.all_is_released()


async def test_not_before_enough_is_known() -> None:
    await _is_alone(hedging({"slm-1": [LATE], "slm-0": [LATE]}, samples=MIN_SAMPLES - 1, timeouts=BRIEF), stream=True)


async def test_not_where_models_yaml_says_no() -> None:
    await _is_alone(hedging({"slm-1": [LATE], "slm-0": [LATE]}, hedge=False, timeouts=BRIEF), stream=True)


async def test_not_where_the_client_limits_the_cost() -> None:
    priced = {"timeouts": BRIEF, "price": large().price, "context": 100}
    limit = {"max_cost_usd": 1.0}
    await _is_alone(hedging({"slm-1": [LATE], "slm-0": [LATE]}, **priced), stream=True, routing=limit)


async def test_not_for_whole_answers() -> None:
    """They take long because they are long."""
    late = Timeouts(total_s=0.05)
    await _is_alone(hedging({"slm-1": [lambda: HANG], "slm-0": [lambda: HANG]}, timeouts=late))


@pytest.mark.parametrize(("busy", "hedges"), [(0, [("slm", "lost")]), (1, [])])
async def test_not_of_a_replica_that_has_as_much_to_do(busy: int, hedges: list[tuple[str, str]]) -> None:
    gateway = hedging({"slm-1": [LATE], "slm-0": [LATE]}, timeouts=BRIEF)
    while gateway.dispatcher.retries.budgets["slm"].withdraw(monotonic()):
        pass
    held = [gateway.pools["slm"].acquire(monotonic(), tried=["slm/1"]) for _ in range(busy)]
    with pytest.raises(UpstreamTimedOut):
        await gateway.ask(stream=True)
    assert gateway.upstream.hosts[0] == "slm-1"
    assert gateway.record.hedges == hedges
    for lease in held:
        lease.release(monotonic(), "unknown")


async def test_not_of_a_replica_that_rests() -> None:
    gateway = hedging({"slm-1": [LATE]}, timeouts=BRIEF)
    gateway.pools["slm"].replicas[0].cooldown.begin(monotonic(), 30.0)
    gateway.upstream.script["slm-1"] = [LATE]
    await _is_alone(gateway, stream=True)
    assert set(gateway.upstream.hosts) == {"slm-1"}


async def test_not_more_often_than_the_budget_allows() -> None:
    gateway = hedging({"slm-1": [LATE], "slm-0": [LATE]}, timeouts=Timeouts(first_byte_s=0.005))
    hedged, asked = 0, 60
    for _ in range(asked):
        with pytest.raises(UpstreamTimedOut):
            await gateway.ask(stream=True)
        hedged += len(gateway.record.hedges)
        for replica in gateway.pools["slm"].replicas:
            replica.breaker = Breaker()
    assert 0 < hedged <= HEDGE_FLOOR + asked * 2 * 0.02  # each request is tried twice


# --- when one of the two fails


async def test_the_second_goes_on_alone_where_the_first_fails() -> None:
    gateway = hedging({"slm-1": [lambda: Failing(CUT)], "slm-0": [lambda: Slow(steps=[ANSWER, [b"[DONE]"]])]})
    assert await gateway.ask(stream=True) == ANSWER
    assert gateway.tried == [("slm/1", "upstream_error"), ("slm/0", "")]
    assert gateway.pools["slm"].replicas[1].breaker.failures == 1
    gateway.all_is_released()


async def test_the_first_goes_on_alone_where_the_second_fails() -> None:
    slow = lambda: Slow(steps=[ANSWER, [b"[DONE]"]])  # noqa: E731
    gateway = hedging({"slm-1": [slow], "slm-0": [refuses(429, FULL, 30.0)]})
    assert await gateway.ask(stream=True) == ANSWER
    assert gateway.tried == [("slm/0", "overloaded"), ("slm/1", "")]
    assert gateway.record.hedges == [("slm", "lost")]
    assert gateway.pools["slm"].replicas[0].cooldown.left_s(monotonic()) > 0
    gateway.all_is_released()


class Failing(FakeExchange):
    """Fails when the other replica has been asked."""

    def __init__(self, error: ApiError) -> None:
        super().__init__()
        self.error = error

    async def next_events(self, within_s: float) -> list[bytes]:
        for _ in range(10):
            await hedge.asyncio.sleep(0)
        raise self.error


async def test_where_both_fail_the_first_ones_error_is_told_and_neither_is_asked_again() -> None:
    refused = refuses(400, {"error": {"message": "no"}})
    gateway = hedging({"slm-1": [lambda: Failing(UpstreamFailed("first"))], "slm-0": [refused]})
    error = await gateway.fails(UpstreamFailed, stream=True)
    assert error.message == "Model 'slm': first"
    assert sorted(gateway.tried) == [("slm/0", "rejected"), ("slm/1", "upstream_error")]
    assert len(gateway.upstream.hosts) == 2


async def test_an_error_before_the_second_is_asked_is_a_failure_as_ever() -> None:
    gateway = hedging({"slm-1": [refuses(400, {"error": {"message": "no"}})]})
    for _ in range(2):
        gateway.dispatcher.hedging.stats["slm"].begin_times.note(9.0, monotonic())
    await gateway.fails(UpstreamRejected, stream=True)
    assert gateway.tried == [("slm/1", "rejected")]
    gateway = hedging({"slm-1": [streams([])]})
    for _ in range(2):
        gateway.dispatcher.hedging.stats["slm"].begin_times.note(9.0, monotonic())
    assert await gateway.ask(stream=True) == ANSWER
    assert gateway.tried == [("slm/1", "upstream_error"), ("slm/0", "")]


# --- clients that leave

LIVES: dict[str, dict[str, list[Any]]] = {
    "the second wins": {"slm-1": [LATE]},
    "the second wins over late headers": {"slm-1": [lambda: HANG]},
    "the first wins": {"slm-1": [lambda: Slow(steps=[ANSWER, [usage_chunk(), b"[DONE]"]])], "slm-0": [LATE]},
    "the first fails": {"slm-1": [lambda: Failing(CUT)]},
    "the second fails": {"slm-1": [lambda: Slow(steps=[ANSWER, [b"[DONE]"]])], "slm-0": [refuses(500)]},
    "both fail": {"slm-1": [lambda: Failing(CUT)], "slm-0": [refuses(400)]},
    "both hang": {"slm-1": [LATE], "slm-0": [lambda: HANG]},
}


@pytest.mark.parametrize("life", LIVES)
async def test_cancelled_at_any_point_nothing_stays_taken(life: str) -> None:
    for steps in range(80):
        gateway = hedging(LIVES[life])
        done = await cancel_after(gateway.ask(stream=True), steps)
        gateway.all_is_released()
        for attempt in gateway.record.attempts:
            assert attempt.busy_s >= 0
            assert attempt.failure or done, "what was cancelled says so"
        if done:
            return
    assert life == "both hang", "it never came to its end"
