"""What is known before a call is sent and after it was answered: priors, decisions, judgements. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import expm1, log
from typing import NamedTuple

from msgspec import Struct

MIN_ANSWER_LOGPROB = -1000.0
"""of a whole answer: long texts are unlikely, and still to be told apart"""
MAX_ANSWER_LOGPROB = -1e-6
"""a logprob of 0 is a rounded one"""


class Confidence(Struct, frozen=True):
    """Features of an answer; logprobs are natural. With several tokens, the weakest tell more than the average."""

    tokens: int
    """how many count"""
    total: float
    """of the whole answer: the sum"""
    mean: float
    low: float
    """the tenth that is least likely begins here (the quantile's lower end)"""
    least: float
    margin: float | None = None
    """the least lead of a token over the best other, below 0 where it was not the likeliest; None: none are known"""
    entropy: float | None = None
    """mean over the tokens, nats; what is not among the known ones counts as one more token, so it is a lower bound"""
    fields: Mapping[str, float] = {}
    """of a structured answer: JSON Pointer of each value -> sum of its tokens' logprobs"""

    @property
    def score(self) -> float:
        """Return what calibration takes: the log-odds of the whole answer."""
        return log_odds(self.total)


def log_odds(logprob: float) -> float:
    """Return log(p / (1 - p)) of p = exp(logprob): near 1, where most answers lie, it tells them apart."""
    at = min(max(logprob, MIN_ANSWER_LOGPROB), MAX_ANSWER_LOGPROB)
    return at - log(-expm1(at))


class Prior(Struct, frozen=True):
    """What is known of one small model's answer to a call before it is asked.

    A call's gain is the quality (0 to 1) of the fallback's answer less that of the small model's.
    """

    task: str
    likely: Sequence[float] = ()
    """the gains that its answers to such calls leave to expect, rising; empty: nothing is known"""
    hint: float = 0.0
    """what the prompt says of the gain beyond what the answer's confidence will say"""


class Candidate(Struct, frozen=True):
    """What asking one small model first is worth, as a learned policy sees it."""

    prior: Prior
    threshold: float
    """its answer is accepted where the gain that it leaves to expect is no larger"""
    price: float
    """of its call, as a share of the fallback's dollars"""
    is_guaranteed: bool
    """the threshold follows from the guarantee: what says nothing of itself is not accepted"""
    value: float | None
    """what asking it first saves, as a share of the fallback's dollars; None: nothing is known of this model"""


class Decision(Struct, frozen=True):
    """A policy's word: start at `rung` of the ladder. `score` in 0..1, higher is harder; None: not scored."""

    rung: int
    reason: str
    score: float | None = None
    asking_order: Sequence[str] = ()
    """models in the order in which they are to be asked; empty: all from `rung` on, as written"""
    min_confidence: float | None = None
    """that the client wants"""
    fallback_usd: float | None = None
    """what the fallback is expected to charge"""
    candidates: Mapping[str, Candidate] = {}
    """by model"""


class Judgement(NamedTuple):
    """What was held of an answer, or of its beginning, before it might leave."""

    model: str
    score: float | None
    """log-odds that the model gives it; None: it says nothing of itself"""
    gain: float
    """quality that the fallback's answer is expected to have over it, about -1 to 1"""
    threshold: float
    """the largest gain that would have been accepted"""
    accepted: bool
    beginning: bool = False
    """of the first tokens only"""
    voted: bool = False
    """the score is of a vote"""
    confidence: Confidence | None = None

    @property
    def probability(self) -> float:
        """Return P(it is as good as the fallback's answer), 0 to 1."""
        return min(1.0, max(0.0, 1 - self.gain))
