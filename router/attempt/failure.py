"""What a failed attempt means: may it be tried again, does it speak against the replica? Pure."""

from __future__ import annotations

from dataclasses import dataclass

from router.errors import (
    AnswerTruncated,
    ApiError,
    LowConfidence,
    Overloaded,
    StructuredOutputViolation,
    Unavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from router.types import EscalationReason

TRIES_ON_A_RUNG = 2
"""a second try, on another replica where there is one; a third seldom helps what two could not"""


@dataclass(frozen=True, slots=True)
class Failure:
    """`reason` None: the fault is the request's own, and no other model is asked."""

    error: ApiError
    reason: EscalationReason | None
    retry: bool
    """a second try on this rung can help"""
    needs_other_replica: bool = False
    """... but only on another replica: this one just showed that it is stuck or full"""
    speaks_against_replica: bool = False


def classify(error: ApiError) -> Failure:
    """Classify the error of one attempt."""
    match error:
        case AnswerTruncated(more_room=more_room):
            return Failure(error, "truncated", retry=more_room)
        case LowConfidence():
            return Failure(error, "confidence", retry=False)
        case StructuredOutputViolation():
            return Failure(error, "structured", retry=True)
        case UpstreamRejected(code="context_length_exceeded"):
            return Failure(error, "context", retry=False)
        case UpstreamRejected(code="unsupported_schema"):
            return Failure(error, "ability", retry=True)
        case UpstreamRejected(status=429):
            return Failure(error, "overloaded", retry=True, needs_other_replica=True)
        case UpstreamRejected():
            return Failure(error, None, retry=False)
        case UpstreamTimedOut():
            # one that hangs once costs a whole time limit; the same again would cost a second one
            return Failure(error, "timeout", retry=True, needs_other_replica=True, speaks_against_replica=True)
        case UpstreamFailed(code="upstream_auth_failed"):
            return Failure(error, "upstream_error", retry=False)
        case UpstreamFailed(code="upstream_unreachable"):
            return Failure(error, "unavailable", retry=True, speaks_against_replica=True)
        case UpstreamFailed():
            return Failure(error, "upstream_error", retry=True, speaks_against_replica=True)
        case Overloaded():
            return Failure(error, "overloaded", retry=True, needs_other_replica=True)
        case Unavailable():
            return Failure(error, "unavailable", retry=False)
        case _:
            return Failure(error, None, retry=False)
