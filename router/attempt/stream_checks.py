"""What the events of one attempt's stream must pass, and what the record learns of them meanwhile."""

from __future__ import annotations

from router.attempt.empty_answer import Expectation
from router.attempt.failure import classify
from router.attempt.stream import StreamChecks
from router.attempt.stream_content import StreamContent
from router.errors import AnswerEmpty, AnswerTruncated, ApiError, StructuredOutputViolation
from router.judge.base import Judge
from router.judge.stream import StreamJudge
from router.record import RequestRecord
from router.structured.contract import OutputContract, Verify


def stream_checks(
    expected: Expectation,
    contract: OutputContract | None,
    judge: Judge | None,
    verify: Verify,
    record: RequestRecord,
    *,
    is_last: bool,
) -> StreamChecks:
    """Return what the stream's events must pass; write down what is known before the first one.

    `is_last`: no other model can be asked, so thoughts may leave although an answer may never follow.
    """
    holds = not is_last and expected.call.routing.hold != "none"
    checker = None
    if contract is not None:
        checker, is_enforced, is_free = contract.plan_stream(expected.model)
        record.held = not is_enforced  # a checked stream that begins with prose waits, too
        record.structured = "none" if is_free else record.format_history if is_enforced else "checking"
    stream_judge = judge if isinstance(judge, StreamJudge) else None
    record.held = record.held or stream_judge is not None

    def note_hold() -> None:
        record.held = True

    def note_fault(error: ApiError) -> None:
        if isinstance(error, AnswerEmpty):  # thoughts have left, and nothing followed
            record.best_effort = classify(error).reason or ""
        note_violation(record, expected.model.name, error)

    return StreamChecks(StreamContent(expected, holds=holds), checker, verify, stream_judge, note_fault, note_hold)


def note_violation(record: RequestRecord, model: str, error: ApiError) -> None:
    """Write down that a model's answer broke its format, if the error says so."""
    if isinstance(error, StructuredOutputViolation) and not isinstance(error, AnswerTruncated) and error.kind:
        record.verdicts.append((model, error.kind, "invalid"))
