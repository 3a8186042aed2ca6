from __future__ import annotations

from typing import Any

import pytest

from router import errors
from router.attempt.failure import Failure, classify, to_report
from router.errors import ApiError, Misconfigured, UpstreamFailed, UpstreamRejected, UpstreamTimedOut


def _subclasses(cls: type[ApiError]) -> list[type[ApiError]]:
    return [cls, *(deeper for below in cls.__subclasses__() for deeper in _subclasses(below))]


OWN_FAULT: dict[str, Any] = {"reason": None, "retry": False}
CASES: list[tuple[ApiError, dict[str, Any]]] = [
    (errors.StructuredOutputViolation("x"), {"reason": "structured", "retry": True}),
    (
        UpstreamRejected(400, {"message": "x", "code": "context_length_exceeded"}),
        {"reason": "context", "retry": False},
    ),
    (UpstreamRejected(400, {"message": "x", "code": "unsupported_schema"}), {"reason": "ability", "retry": True}),
    (UpstreamRejected(429, {"message": "x"}), {"reason": "overloaded", "retry": True, "needs_other_replica": True}),
    (UpstreamRejected(400, {"message": "x"}), {"reason": "rejected", "retry": False}),
    (UpstreamRejected(413, {"message": "x", "code": "request_too_large"}), {"reason": "rejected", "retry": False}),
    (UpstreamRejected(422, {}), {"reason": "rejected", "retry": False}),
    (UpstreamRejected(400, {"code": "missing_required_parameter"}), OWN_FAULT),
    (
        UpstreamTimedOut("x"),
        {"reason": "timeout", "retry": True, "needs_other_replica": True, "speaks_against_replica": True},
    ),
    (errors.Misconfigured("key"), {"reason": "misconfigured", "retry": False}),
    (
        UpstreamFailed("x", code="upstream_unreachable"),
        {"reason": "unavailable", "retry": True, "speaks_against_replica": True},
    ),
    (UpstreamFailed("x"), {"reason": "upstream_error", "retry": True, "speaks_against_replica": True}),
    (errors.AnswerTruncated("x", more_room=True), {"reason": "truncated", "retry": True}),
    (errors.AnswerTruncated("x", more_room=False), {"reason": "truncated", "retry": False}),
    (errors.Runaway("x", kind="json_schema"), {"reason": "runaway", "retry": True}),
    (errors.Runaway("x"), {"reason": "runaway", "retry": False}),  # asked the same, it would repeat itself again
    (errors.AnswerEmpty("x", only_thoughts=True, room=None), {"reason": "only_thoughts", "retry": False}),
    (errors.AnswerEmpty("x", only_thoughts=False, room=64), {"reason": "empty", "retry": True}),
    (errors.LowConfidence("x"), {"reason": "confidence", "retry": False}),
    (errors.NotEligible("x", reason="cost", code="max_cost_exceeded"), {"reason": "cost", "retry": False}),
    (errors.Overloaded("x"), {"reason": "overloaded", "retry": True, "needs_other_replica": True}),
    (errors.Resting("x"), {"reason": "overloaded", "retry": False, "is_last_resort": True}),
    (errors.Unavailable("x"), {"reason": "unavailable", "retry": False}),
    (errors.FailedLately("x"), {"reason": "unavailable", "retry": False, "is_last_resort": True}),
    (errors.NotLoaded("x"), {"reason": "unavailable", "retry": False}),
    (errors.OutsideHours("x"), {"reason": "hours", "retry": False}),
    (errors.AnswerDiverged("x"), OWN_FAULT),
    (errors.BadRequest("x"), OWN_FAULT),
    (errors.NotFound("x"), OWN_FAULT),
    (errors.BodyTooLarge("x"), OWN_FAULT),
    (errors.AuthenticationFailed("x"), OWN_FAULT),
    (ApiError("x"), OWN_FAULT),
]


@pytest.mark.parametrize(
    ("error", "expected"), CASES, ids=lambda v: f"{type(v).__name__}" if isinstance(v, ApiError) else ""
)
def test_of(error: ApiError, expected: dict[str, Any]) -> None:
    assert classify(error) == Failure(error, **expected)


def test_every_error_has_its_row() -> None:
    ours = {cls for cls in _subclasses(ApiError) if cls.__module__ == errors.__name__} - {errors.UpstreamError}
    assert ours == {type(error) for error, _ in CASES}


def test_what_is_the_clients_fault_never_speaks_against_a_replica() -> None:
    for status in range(400, 500):
        assert not classify(UpstreamRejected(status, {"message": "x"})).speaks_against_replica


BROKEN, STUCK = classify(UpstreamFailed("x")), classify(UpstreamTimedOut("x"))
INVALID = classify(errors.StructuredOutputViolation("x"))
CUT = classify(errors.AnswerTruncated("x", more_room=True))
UNENFORCEABLE = classify(UpstreamRejected(400, {"code": "unsupported_schema"}))
REFUSED, TOO_LONG = (
    classify(UpstreamRejected(400, {})),
    classify(UpstreamRejected(400, {"code": "context_length_exceeded"})),
)
UNABLE = classify(errors.NotEligible("x", reason="ability", code="unsupported_by_model"))
UNSURE = classify(errors.LowConfidence("x"))


@pytest.mark.parametrize("before", [None, BROKEN, INVALID, REFUSED])
@pytest.mark.parametrize("now", [UNABLE, UNSURE])
def test_why_an_earlier_model_failed_is_told_before_why_another_was_not_asked_or_not_believed(
    before: Failure | None, now: Failure
) -> None:
    assert to_report(before, now) is before


@pytest.mark.parametrize("before", [INVALID, CUT, UNENFORCEABLE, UNABLE])
@pytest.mark.parametrize("now", [REFUSED, TOO_LONG])
def test_what_the_client_did_not_write_is_not_told_to_be_refused(before: Failure, now: Failure) -> None:
    assert to_report(before, now) is before


def test_of_two_refusals_the_first_is_told() -> None:
    assert to_report(REFUSED, classify(UpstreamRejected(422, {}))) is REFUSED
    assert to_report(REFUSED, TOO_LONG) is REFUSED
    assert to_report(REFUSED, BROKEN) is BROKEN, "not every model has refused"


def test_what_the_operator_must_mend_is_told_only_if_nothing_else_is_known() -> None:
    to_mend = classify(Misconfigured("account"))
    assert to_report(REFUSED, to_mend) is REFUSED
    assert to_report(None, to_mend) is to_mend
    assert to_report(to_mend, REFUSED) is REFUSED


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (None, BROKEN),
        (None, REFUSED),
        (BROKEN, STUCK),
        (BROKEN, REFUSED),
        (BROKEN, TOO_LONG),
        (INVALID, BROKEN),
        (INVALID, INVALID),
        (INVALID, classify(UpstreamRejected(429, {}))),
        (INVALID, classify(errors.BadRequest("x"))),
    ],
)
def test_otherwise_the_newest_failure_is_told(before: Failure | None, now: Failure) -> None:
    assert to_report(before, now) is now


def test_a_judge_s_addition_that_was_refused_is_another_model_s_turn() -> None:
    error = UpstreamRejected(400, {"message": "logprobs are not supported"})
    assert classify(error, caused_by_judge=True) == Failure(error, "ability", retry=False)
