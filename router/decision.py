"""Value types for decisions: priors before a call is sent, and judgements of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import expm1, log
from typing import NamedTuple

from msgspec import Struct

MIN_ANSWER_LOGPROB = -1000.0
"""the lower bound for a whole answer; it is low because long texts are unlikely but must stay distinguishable"""
MAX_ANSWER_LOGPROB = -1e-6
"""the upper bound for a whole answer: a logprob of 0 is a rounded one"""


class Confidence(Struct, frozen=True):
    """Confidence features of an answer; logprobs are natural. The weakest tokens are more informative than the mean."""

    tokens: int
    """the number of tokens that count"""
    total: float
    """the logprob of the whole answer: the sum over its tokens"""
    mean: float
    low: float
    """the 10% quantile of the tokens' logprobs (its lower end)"""
    least: float
    """the lowest logprob of a token"""
    margin: float | None = None
    """the smallest difference between a token's logprob and its best alternative's, below 0 if the alternative was
    likelier; None: no alternatives are known"""
    entropy: float | None = None
    """mean over the tokens in nats; it is a lower bound, because all unknown alternatives count as one token"""
    fields: Mapping[str, float] = {}
    """for a structured answer: JSON Pointer of each value -> sum of its tokens' logprobs"""

    @property
    def score(self) -> float:
        """Return the log-odds of the whole answer, which is the input of calibration."""
        return log_odds(self.total)


def log_odds(logprob: float) -> float:
    """Return log(p / (1 - p)) with p = exp(logprob). It separates values near 1, where most answers are."""
    at = min(max(logprob, MIN_ANSWER_LOGPROB), MAX_ANSWER_LOGPROB)
    return at - log(-expm1(at))


class Prior(Struct, frozen=True):
    """The expectation for one small model's answer to a call, before the model is asked.

    The gain of a call is the quality (0 to 1) of the fallback's answer minus that of the small model's answer.
    """

    task: str
    likely: Sequence[float] = ()
    """the expected gains after its answers to such calls, ascending; empty: there is no evidence"""
    hint: float = 0.0
    """the part of the gain that the prompt predicts and the answer's confidence does not"""


class Candidate(Struct, frozen=True):
    """A learned policy's estimate of the value of asking one small model first."""

    prior: Prior
    threshold: float
    """its answer is accepted if the expected gain is at most this"""
    price: float
    """the price of its call, as a share of the fallback's price"""
    is_guaranteed: bool
    """the threshold follows from the guarantee, so answers without a confidence are rejected"""
    value: float | None
    """the expected saving, as a share of the fallback's price; None: there is no evidence for this model"""


class Escalated(NamedTuple):
    """What is known of a conversation of which an earlier turn was escalated, other than for want of a replica."""

    model: str
    """the model that it was escalated to"""
    times: int
    """how many of its turns were escalated so"""
    turns: int
    """how many turns this model has answered since the last of them"""


class Decision(Struct, frozen=True):
    """A policy's decision: start at `rung` of the ladder. `score` is the difficulty, 0 to 1; None: not scored."""

    rung: int
    reason: str
    score: float | None = None
    asking_order: Sequence[str] = ()
    """the models in the order of asking; empty: all from `rung` on, in the order of the ladder"""
    min_confidence: float | None = None
    """the one that the client sent"""
    fallback_usd: float | None = None
    """the expected price of the fallback's answer"""
    candidates: Mapping[str, Candidate] = {}
    """by model"""


class Judgement(NamedTuple):
    """The judgement of an answer, or of its beginning, before it is sent."""

    model: str
    score: float | None
    """the log-odds of the answer; None: it has no confidence"""
    gain: float
    """the expected quality of the fallback's answer minus that of this one, about -1 to 1"""
    threshold: float
    """the largest gain that would have been accepted"""
    accepted: bool
    beginning: bool = False
    """the judgement covers the first tokens only"""
    voted: bool = False
    """the score comes from a vote"""
    confidence: Confidence | None = None

    @property
    def probability(self) -> float:
        """Return the estimated probability that the answer is as good as the fallback's, 0 to 1."""
        return min(1.0, max(0.0, 1 - self.gain))
