from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.failure import MAX_TRIES_ON_A_RUNG, classify
from router.attempt.next_step import Standing, Step, next_step
from router.errors import (
    AnswerTruncated,
    ApiError,
    BadRequest,
    Misconfigured,
    Overloaded,
    StructuredOutputViolation,
    Unavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)

OWN_FAULT = BadRequest("x")
TOO_LONG = UpstreamRejected(400, {"code": "context_length_exceeded"})
UNREACHABLE = UpstreamFailed("x", code="upstream_unreachable")
KEY_REFUSED = Misconfigured("key")
BROKEN = UpstreamFailed("x")
STUCK = UpstreamTimedOut("x")
FULL = UpstreamRejected(429, {})
BUSY = Overloaded("x")
DOWN = Unavailable("x")
INVALID = StructuredOutputViolation("x")
CUT = AnswerTruncated("x", more_room=True)
UNENFORCEABLE = UpstreamRejected(400, {"code": "unsupported_schema"})
ERRORS: list[ApiError] = [
    OWN_FAULT, TOO_LONG, UNREACHABLE, KEY_REFUSED, BROKEN, STUCK, FULL, BUSY, DOWN, INVALID, CUT, UNENFORCEABLE
]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "tries", "other_replicas", "can_escalate", "step"),
    [
        # 1. the request's own fault
        (OWN_FAULT, 0, 0, True, "fail"),
        (OWN_FAULT, 1, 3, True, "fail"),
        # 2. a second try, on another replica
        (BROKEN, 1, 1, True, "retry"),
        (UNREACHABLE, 1, 1, True, "retry"),
        (STUCK, 1, 1, True, "retry"),
        (FULL, 1, 1, True, "retry"),
        (BUSY, 1, 1, False, "retry"),
        # ... on the only replica: where nobody else can answer
        (BROKEN, 1, 0, False, "retry"),
        (UNREACHABLE, 1, 0, False, "retry"),
        (BROKEN, 1, 0, True, "escalate"),
        (UNREACHABLE, 1, 0, True, "escalate"),
        # ... never where the only replica is stuck or full
        (STUCK, 1, 0, False, "fail"),
        (FULL, 1, 0, False, "fail"),
        (BUSY, 1, 0, True, "escalate"),
        # ... of an invalid answer: anywhere, also with a rung above
        (INVALID, 1, 0, True, "retry"),
        (INVALID, 1, 3, True, "retry"),
        (INVALID, 1, 0, False, "retry"),
        (CUT, 1, 0, True, "retry"),
        (UNENFORCEABLE, 1, 0, True, "retry"),
        (INVALID, 2, 3, True, "escalate"),
        (INVALID, 2, 3, False, "fail"),
        # ... but no third
        (BROKEN, 2, 5, True, "escalate"),
        (BROKEN, 2, 5, False, "fail"),
        # 3. what no second try can help
        (TOO_LONG, 1, 3, True, "escalate"),
        (KEY_REFUSED, 1, 3, True, "escalate"),
        (DOWN, 0, 0, True, "escalate"),
        # 4. and nobody above
        (TOO_LONG, 1, 3, False, "fail"),
        (KEY_REFUSED, 1, 3, False, "fail"),
        (DOWN, 0, 0, False, "fail"),
    ],
)
def test_next_step(error: ApiError, tries: int, other_replicas: int, can_escalate: bool, step: Step) -> None:
    assert next_step(classify(error), Standing(tries, other_replicas, can_escalate)) == step


@pytest.mark.parametrize(
    ("error", "other_replicas", "can_escalate", "step"),
    [
        (BROKEN, 3, True, "escalate"),
        (STUCK, 3, True, "escalate"),
        (UNREACHABLE, 3, False, "fail"),
        (BROKEN, 0, False, "fail"),
        (INVALID, 0, True, "retry"),
        (INVALID, 0, False, "retry"),
    ],
)
def test_a_request_that_was_retried_is_retried_for_its_structure_only(
    error: ApiError, other_replicas: int, can_escalate: bool, step: Step
) -> None:
    assert next_step(classify(error), Standing(1, other_replicas, can_escalate, retried=True)) == step


@pytest.mark.parametrize(
    ("error", "pause_s", "can_escalate", "step"),
    [
        (FULL, 2.0, False, "retry"),
        (BUSY, 0.0, False, "retry"),
        (BROKEN, 2.0, False, "retry"),
        (FULL, 2.1, False, "fail"),
        (BROKEN, 2.1, False, "fail"),
        (FULL, 1.0, True, "escalate"),
        (FULL, None, False, "fail"),
    ],
)
def test_the_only_replica_is_asked_again_where_its_upstream_asks_for_a_short_pause(
    error: ApiError, pause_s: float | None, can_escalate: bool, step: Step
) -> None:
    failure = replace(classify(error), pause_s=pause_s)
    assert next_step(failure, Standing(1, 0, can_escalate, longest_pause_s=2.0)) == step


@given(st.sampled_from(ERRORS), st.integers(0, 5), st.integers(0, 5))
def test_never_climbs_where_there_is_no_can_escalate(error: ApiError, tries: int, others: int) -> None:
    assert next_step(classify(error), Standing(tries, others, can_escalate=False)) != "escalate"


@given(st.sampled_from(ERRORS), st.integers(0, 5), st.integers(0, 5))
def test_never_gives_up_below_a_rung_unless_the_request_is_at_fault(error: ApiError, tries: int, others: int) -> None:
    step = next_step(classify(error), Standing(tries, others, can_escalate=True))
    assert (step == "fail") == (error is OWN_FAULT)


@given(st.data(), st.lists(st.integers(1, 6), min_size=1, max_size=5))
def test_any_sequence_of_failures_ends_after_two_tries_a_rung(data: st.DataObject, replicas: list[int]) -> None:
    rung = tries = attempts = 0
    while True:
        attempts += 1
        tries += 1
        above = rung + 1 < len(replicas)
        failure = classify(data.draw(st.sampled_from(ERRORS)))
        step = next_step(failure, Standing(tries, max(0, replicas[rung] - tries), above))
        if step == "fail":
            break
        if step == "escalate":
            rung, tries = rung + 1, 0
        assert attempts < MAX_TRIES_ON_A_RUNG * len(replicas)
