"""What a failed attempt means: can a second try help, and does it count against the replica? Pure."""

from __future__ import annotations

from dataclasses import dataclass

from router.errors import (
    AnswerEmpty,
    AnswerTruncated,
    ApiError,
    FailedLately,
    LowConfidence,
    Misconfigured,
    NotEligible,
    OutsideHours,
    Overloaded,
    Resting,
    Runaway,
    StructuredOutputViolation,
    Unavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from router.types import ASKED_DIFFERENTLY, EscalationReason

MAX_TRIES_ON_A_RUNG = 2
"""a second try, on another replica if there is one; a third seldom helps where two failed"""
SLOW_PAUSE_S = 5.0
"""how long a replica gets no requests after a stream that began too slowly; others are asked meanwhile"""


MALFORMED_CODES = frozenset({"invalid_json", "json_invalid", "missing_required_parameter"})
"""every upstream would refuse such a request; any other refusal may be the limit of one model"""


@dataclass(frozen=True, slots=True)
class Failure:
    """`reason` None: the request itself is at fault, and no other model is asked."""

    error: ApiError
    reason: EscalationReason | None
    retry: bool
    """a second try on this rung can help"""
    needs_other_replica: bool = False
    """a second try can help only on another replica: this one just showed that it is stuck or full"""
    speaks_against_replica: bool = False
    pause_s: float | None = None
    """how long the replica should get no requests, as its upstream said (`Retry-After`), or because it is slow"""
    is_last_resort: bool = False
    """the model was not asked, but may be if no other model answers"""


def classify(error: ApiError, *, caused_by_judge: bool = False) -> Failure:
    """Classify the error of one attempt; `caused_by_judge`: the upstream refused what a judge had added."""
    match error:
        case NotEligible(reason=reason):
            return Failure(error, reason, retry=False)
        case AnswerTruncated(more_room=more_room):
            return Failure(error, "truncated", retry=more_room)
        case AnswerEmpty(only_thoughts=only_thoughts, room=room):
            return Failure(error, "only_thoughts" if only_thoughts else "empty", retry=room is not None)
        case LowConfidence():
            return Failure(error, "confidence", retry=False)
        case Runaway(kind=kind):
            return Failure(error, "runaway", retry=bool(kind))
        case StructuredOutputViolation():
            return Failure(error, "structured", retry=True)
        case UpstreamRejected(code="context_length_exceeded"):
            return Failure(error, "context", retry=False)
        case UpstreamRejected(code="unsupported_schema"):
            return Failure(error, "ability", retry=True)
        case UpstreamRejected(code="unsupported_by_model"):
            return Failure(error, "ability", retry=False)
        case UpstreamRejected(status=429):
            return Failure(error, "overloaded", retry=True, needs_other_replica=True)
        case UpstreamRejected(code=code):
            is_malformed = code in MALFORMED_CODES
            return Failure(error, "ability" if caused_by_judge else None if is_malformed else "rejected", retry=False)
        case UpstreamTimedOut(code="upstream_too_slow"):
            # mostly it has too much to do: an open breaker would only give the others too much, too
            return Failure(error, "timeout", retry=True, needs_other_replica=True, pause_s=SLOW_PAUSE_S)
        case UpstreamTimedOut():
            # a replica that hangs once costs a whole time limit; the same replica again would cost a second one
            return Failure(error, "timeout", retry=True, needs_other_replica=True, speaks_against_replica=True)
        case Misconfigured():
            return Failure(error, "misconfigured", retry=False)
        case UpstreamFailed(code="upstream_unreachable"):
            return Failure(error, "unavailable", retry=True, speaks_against_replica=True)
        case UpstreamFailed():
            return Failure(error, "upstream_error", retry=True, speaks_against_replica=True)
        case Resting():
            return Failure(error, "overloaded", retry=False, is_last_resort=True)
        case Overloaded():
            return Failure(error, "overloaded", retry=True, needs_other_replica=True)
        case OutsideHours():
            return Failure(error, "hours", retry=False)
        case FailedLately():
            return Failure(error, "unavailable", retry=False, is_last_resort=True)
        case Unavailable():
            return Failure(error, "unavailable", retry=False)
        case _:
            return Failure(error, None, retry=False)


def to_report(before: Failure | None, now: Failure) -> Failure | None:
    """Return the failure that the client is told of if nothing better follows; `before`: the one so far.

    1. The model was not eligible, or its answer empty or not sure enough: why an earlier model failed says more.
    2. The operator must mend the model: the client cannot, and an earlier failure may be its own.
    3. The upstream refused a retry that was asked differently: the client did not write what was refused.
    4. Every model refuses: the first refusal, as it is of the model that the client knows best.
    5. Otherwise the newest failure.
    """
    if isinstance(now.error, NotEligible | LowConfidence | AnswerEmpty):  # 1
        return before
    if isinstance(now.error, Misconfigured):  # 2
        return before or now
    is_refused = isinstance(now.error, UpstreamRejected) and now.reason in (None, "context", "rejected")
    if before and is_refused and before.reason in (*ASKED_DIFFERENTLY, "rejected"):  # 3, 4
        return before
    return now  # 5
