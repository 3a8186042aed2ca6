"""A learned policy's inputs and judgements in the access log: enough to repeat its decision offline without the prompt.

`benchmarks.routing.replay` repeats decisions with the same policy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from statistics import fmean

from msgspec import Struct
from msgspec.structs import replace

from router.decision import Candidate, Confidence, Judgement
from router.record import RequestRecord

DIGITS = 6


class LoggedCandidate(Struct, frozen=True):
    """One small model before it was asked; see `router.decision.Candidate` and `Prior`."""

    threshold: float | None
    """None: infinite, so every answer is accepted or none, see `accepts_all`"""
    accepts_all: bool
    is_guaranteed: bool
    price: float | None
    """None: infinite"""
    value: float | None
    hint: float
    expected_gain: float | None
    """mean of the gains that its answers to similar calls had"""


class LoggedJudgement(Struct, frozen=True, omit_defaults=True):
    """One judged answer, or its beginning; see `router.decision.Judgement` and `Confidence`."""

    model: str
    gain: float
    accepted: bool
    score: float | None = None
    beginning: bool = False
    voted: bool = False
    confidence: Confidence | None = None
    """without its fields, because their names can be the client's own words"""


class LearnedDecision(Struct, frozen=True, omit_defaults=True):
    """The decision and all judgements of one request."""

    reason: str
    """the policy's reason"""
    task: str
    way: Sequence[str]
    min_confidence: float | None = None
    """the confidence that the client asked for"""
    fallback_usd: float | None = None
    models: Mapping[str, LoggedCandidate] = {}
    judged: Sequence[LoggedJudgement] = ()


def learned_decision(record: RequestRecord) -> LearnedDecision | None:
    """Return what a learned policy decided for a request, or None if no learned policy decided."""
    decision = record.decision
    if decision is None or not decision.candidates:
        return None
    return LearnedDecision(
        decision.reason,
        next(iter(decision.candidates.values())).prior.task,
        decision.asking_order,
        decision.min_confidence,
        decision.fallback_usd,
        {name: _logged_candidate(candidate) for name, candidate in decision.candidates.items()},
        [_logged_judgement(judgement) for judgement in record.judgements],
    )


def _logged_candidate(candidate: Candidate) -> LoggedCandidate:
    likely = candidate.prior.likely
    return LoggedCandidate(
        _rounded(candidate.threshold) if isfinite(candidate.threshold) else None,
        candidate.threshold == inf,
        candidate.is_guaranteed,
        _rounded(candidate.price) if isfinite(candidate.price) else None,
        _rounded(candidate.value) if candidate.value is not None and isfinite(candidate.value) else None,
        _rounded(candidate.prior.hint),
        _rounded(fmean(likely)) if likely else None,
    )


def _logged_judgement(judgement: Judgement) -> LoggedJudgement:
    confidence = None if judgement.confidence is None else replace(judgement.confidence, fields={})
    return LoggedJudgement(
        judgement.model,
        judgement.gain,
        judgement.accepted,
        judgement.score,
        judgement.beginning,
        judgement.voted,
        confidence,
    )


def _rounded(value: float) -> float:
    return round(value, DIGITS)
