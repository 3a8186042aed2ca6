"""Which retry the budget pays for, and the pause before it: with a clock and dice that the test holds."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.failure import Failure, classify
from router.attempt.ladder import Ladder, Move
from router.attempt.retry import BACKOFF_S, MAX_PAUSE_S, RETRY_FLOOR, Retries, RetryContext, heed_pause
from router.decision import Decision
from router.errors import (
    ApiError,
    Overloaded,
    StructuredOutputViolation,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from tests.support.fakes import FakeExchange, large, model, pool

BROKEN = UpstreamFailed("x")
FULL = UpstreamRejected(429, {})
BUSY = Overloaded("x")
STUCK = UpstreamTimedOut("x")
SLOW = UpstreamTimedOut("x", code="upstream_too_slow")
INVALID = StructuredOutputViolation("x")
NOW = 1000.0


def ladder(*, alone: bool = True) -> Ladder:
    models = [model()] if alone else [model(), large()]
    one = Ladder.of([(each,) for each in models], Decision(0, "x"))
    one.tried = ["slm/0"]
    return one


def failed(error: ApiError, retry_after_s: float | None = None) -> Failure:
    """What the dispatch makes of an attempt's failure."""
    lease = pool(model()).acquire(NOW)
    lease.exchange = FakeExchange(retry_after_s=retry_after_s)
    return heed_pause(lease, classify(error), NOW)


def after(
    failure: Failure,
    retries: Retries | None = None,
    *,
    others: int = 0,
    end_by: float | None = None,
    retried: bool = False,
    alone: bool = True,
) -> Move:
    one = retries or Retries(Random(1))
    return one.next_step(ladder(alone=alone), failure, RetryContext(NOW, end_by, others, retried, True))


def spend(retries: Retries) -> None:
    while retries.budgets["slm"].withdraw(NOW):
        pass


# --- the budget


def test_a_retry_is_paid_for() -> None:
    retries = Retries()
    assert [after(failed(BROKEN), retries).step for _ in range(RETRY_FLOOR + 1)] == ["retry"] * RETRY_FLOOR + ["fail"]


@pytest.mark.parametrize(("others", "alone", "step"), [(0, True, "fail"), (1, True, "fail"), (1, False, "escalate")])
def test_a_retry_that_the_budget_refuses_goes_one_rung_up_or_fails(others: int, alone: bool, step: str) -> None:
    retries = Retries()
    spend(retries)
    move = after(failed(BROKEN), retries, others=others, alone=alone)
    assert (move.step, move.is_retry_refused, move.pause_s) == (step, True, 0.0)


def test_asking_again_for_a_format_is_no_retry_nor_is_an_escalation() -> None:
    retries = Retries()
    spend(retries)
    assert after(failed(INVALID), retries) == Move("retry", is_repeat=True)
    assert after(failed(BROKEN), retries, alone=False) == Move("escalate", is_higher=True)
    fresh = Retries()
    for _ in range(RETRY_FLOOR):
        after(failed(INVALID), fresh)
        after(failed(BROKEN), fresh, alone=False)
    assert after(failed(BROKEN), fresh).step == "retry", "they cost nothing"


def test_traffic_pays_for_a_tenth() -> None:
    retries = Retries()
    spend(retries)
    for _ in range(20):
        retries.count_request("slm", NOW)
    assert [after(failed(BROKEN), retries).step for _ in range(3)] == ["retry", "retry", "fail"]


def test_a_model_that_fails_spends_no_retry_of_another() -> None:
    retries = Retries()
    spend(retries)
    assert retries.budgets["llm"].withdraw(NOW)


# --- the pause


def test_another_replica_is_asked_at_once() -> None:
    for failure in (failed(BROKEN), failed(STUCK), failed(FULL, 30.0)):
        assert after(failure, others=1) == Move("retry", is_repeat=True)


@given(st.randoms(use_true_random=False))
def test_the_same_replica_is_asked_after_full_jitter(dice: Random) -> None:
    move = after(failed(BROKEN), Retries(dice))
    assert move.step == "retry"
    assert 0 <= move.pause_s <= BACKOFF_S


def test_the_jitter_spreads_from_zero_on() -> None:
    retries = Retries(Random(7))
    pauses = [after(failed(BROKEN), retries).pause_s for _ in range(RETRY_FLOOR)]
    assert min(pauses) < BACKOFF_S / 4
    assert max(pauses) > BACKOFF_S * 3 / 4


@pytest.mark.parametrize("error", [FULL, BROKEN, BUSY])
def test_a_short_retry_after_is_waited_for_where_there_is_no_other_place(error: ApiError) -> None:
    move = after(failed(error, 1.5))
    assert move.step == "retry"
    assert 1.5 <= move.pause_s <= 1.5 + BACKOFF_S


@pytest.mark.parametrize("error", [FULL, BROKEN])
def test_a_long_retry_after_is_the_clients(error: ApiError) -> None:
    assert after(failed(error, MAX_PAUSE_S + 0.1)).step == "fail"


def test_a_full_replica_that_says_nothing_is_left_alone() -> None:
    assert after(failed(FULL)).step == "fail"
    assert after(failed(STUCK)).step == "fail"
    assert after(failed(SLOW)).step == "fail"


def test_a_higher_rung_is_asked_rather_than_waited_for() -> None:
    assert after(failed(FULL, 0.1), alone=False).step == "escalate"


def test_no_pause_is_longer_than_the_deadline() -> None:
    assert after(failed(FULL, 1.5), end_by=NOW + 1.0).step == "fail"
    assert after(failed(FULL, 1.5), end_by=NOW + 1.6).pause_s <= 1.6
    assert after(failed(BROKEN), end_by=NOW + 0.001).pause_s <= 0.001
    assert after(failed(BROKEN), end_by=NOW - 1).pause_s == 0.0


def test_a_request_waits_once() -> None:
    assert after(failed(FULL, 0.1), retried=True).step == "fail"


# --- the replica's pause


@pytest.mark.parametrize(
    ("error", "told_s", "left_s"),
    [
        (FULL, 10.0, 10.0),
        (BROKEN, 10.0, 10.0),
        (FULL, None, 0.0),
        (STUCK, None, 0.0),
        (SLOW, None, 5.0),
        (INVALID, 10.0, 0.0),
        (UpstreamRejected(400, {}), 10.0, 0.0),
    ],
)
def test_a_replica_gets_no_requests_as_long_as_its_upstream_says(
    error: ApiError, told_s: float | None, left_s: float
) -> None:
    lease = pool(model()).acquire(NOW)
    lease.exchange = FakeExchange(retry_after_s=told_s)
    heed_pause(lease, classify(error), NOW)
    assert lease.replica.cooldown.left_s(NOW) == pytest.approx(left_s)


def test_a_request_that_was_not_answered_says_nothing() -> None:
    lease = pool(model()).acquire(NOW)
    assert heed_pause(lease, classify(BROKEN), NOW).pause_s is None
