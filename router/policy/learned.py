"""The policies that learn: who is asked first, and whether a small model's answer may be believed. Pure.

Both go by one threshold t on the gain, the quality that the fallback's answer has over the small model's:

1. A small model is asked where looking at its answer is worth its price (`skip`); of several, that of the greatest
   value. `cascade` knows what the answers to such calls left to expect, `classifier` what the prompt does.
2. In a cascade, its answer is accepted where the gain that it leaves to expect is at most t.
3. Else the next rung is asked.

t is 1 - `min_confidence`, or the dollars that the fallback's answer will cost times what one dollar has to bring;
the latter follows from the guarantee. Decisions go by marginal costs: a replica that is paid by the hour is paid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import fmean
from typing import ClassVar

from router.config.models import Guarantee, Model, Rung
from router.judge.features import Confidence
from router.learning.calibration import guaranteed_threshold
from router.learning.evidence import Comparison, Evidence
from router.learning.fingerprint import fingerprint
from router.learning.value_of_information import LEAST_GAIN, value_of_looking
from router.messages.prompt import rough_tokens, texts
from router.money import cost
from router.policy.base import NO_LATENCIES
from router.record import Judgement
from router.types import NANO, Candidate, ChatCall, Decision, PolicyName, Prior, Usage

USUAL_MIN_CONFIDENCE = 0.8
LEAST_VALUE = 1e-9
"""of a model that is to be asked after all others, and before the fallback"""
ROUNDING = 1e-12
"""a threshold is so much, as a share, below what it was worked out to be: what has just that gain is not accepted"""
LARGEST_THRESHOLD = 1e6
"""with this one already, every answer is accepted"""
USUAL_ANSWER_TOKENS = 128
"""where nothing is known of the fallback's answers to such calls"""
NOTHING_KNOWN = Evidence()
"""an answer's confidence is taken at its word"""


@dataclass(frozen=True, slots=True)
class Learned(ABC):
    """What both policies know."""

    fallback: Model
    """the model that the small ones are compared with"""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """what was learned of each small model, by its name"""
    min_confidence: float | None = USUAL_MIN_CONFIDENCE
    """the least probability that an answer is as good as the fallback's; None: the guarantee decides"""
    least_scores: Mapping[str, float | None] = field(default_factory=dict)
    """see `guaranteed`"""
    waiting_usd_per_s: float = 0.0
    """what a client's time is worth"""
    samples: int = 0
    """how many answers vote, and voted where the evidence is from; 0: confidence is of logprobs"""
    name: ClassVar[PolicyName]

    def decide(self, call: ChatCall, rungs: Sequence[Rung], waits: Mapping[str, float] = NO_LATENCIES) -> Decision:
        """Return the models that are worth asking; of those side by side the one of the greatest value comes first."""
        task, text, tokens = fingerprint(call, call.routing.task), "\n\n".join(texts(call)), rough_tokens(call)
        fallback_usd = expected_usd(self.fallback, self.evidence, task, tokens)
        candidates: dict[str, Candidate] = {}
        for model in (model for rung in rungs for model in rung if model is not self.fallback):
            usd = expected_usd(model, self.evidence, task, tokens, answers=self.votes_on(call) or 1)
            price = self._price(usd, waits.get(model.name), fallback_usd, waits.get(self.fallback.name))
            candidates[model.name] = self.candidate(self._sight(model, task, text), model, call, price, fallback_usd)
        start, way = whom_to_ask(rungs, candidates)
        first = candidates.get(way[0])
        hardness = min(1.0, max(0.0, fmean(first.prior.likely))) if first and first.prior.likely else None
        reason = self.name if first or not candidates else f"{self.name}: skipped"
        return Decision(start, reason, hardness, way, call.routing.min_confidence, fallback_usd, candidates)

    @abstractmethod
    def _sight(self, model: Model, task: str, text: str) -> Prior:
        """Return what is known of a model's answer to a text before it is asked."""

    def votes_on(self, call: ChatCall) -> int:
        """Return how many answers to a call are to vote; 0: its confidence is of logprobs."""
        return self.samples if call.is_chat and call.choices == 1 and not call.stream else 0

    def candidate(
        self, prior: Prior, model: Model, call: ChatCall, price: float, fallback_usd: float | None
    ) -> Candidate:
        """Return what asking a model first is worth, given what is known of it and what it costs."""
        threshold, is_guaranteed = self._threshold(model, call, fallback_usd)
        value = saving(prior.likely, threshold, price) if prior.likely else 0.0 if threshold == -inf else None
        return Candidate(prior, threshold, price, is_guaranteed, value)

    def _price(
        self, usd: float | None, wait_s: float | None, fallback_usd: float | None, fallback_wait_s: float | None
    ) -> float:
        """Return what asking a model costs as a share of the fallback, in dollars and in the client's time.

        What nobody has priced or measured costs nothing.
        """
        if fallback_usd is None:
            return 0.0
        worth = self.waiting_usd_per_s if wait_s is not None and fallback_wait_s is not None else 0.0
        of_model, of_fallback = (usd or 0.0) + worth * (wait_s or 0.0), fallback_usd + worth * (fallback_wait_s or 0.0)
        if not of_model:
            return 0.0
        return of_model / of_fallback if of_fallback else inf

    def _threshold(self, model: Model, call: ChatCall, fallback_usd: float | None) -> tuple[float, bool]:
        """Return the largest gain that an accepted answer may leave to expect, and whether a guarantee says so."""
        wanted = call.routing.min_confidence
        least = self.min_confidence if wanted is None else wanted
        if least is not None:
            return (1 - least if least else inf), False
        score = self.least_scores.get(model.name)
        if score is None or score == -inf:
            return (-inf if score is None else inf), True
        threshold = -score * (fallback_usd or 1.0)
        return threshold - ROUNDING * max(abs(threshold), 1e-3), True

    def _known(self, model: Model) -> Evidence:
        return self.evidence.get(model.name, NOTHING_KNOWN)


class Cascade(Learned):
    """The small model answers first, and its confidence decides."""

    name = "cascade"

    def _sight(self, model: Model, task: str, text: str) -> Prior:
        return self._known(model).prior(task, text)

    def judge(
        self,
        decision: Decision,
        model: Model,
        confidence: Confidence | None,
        score: float | None,
        *,
        beginning: bool = False,
        voted: bool = False,
    ) -> Judgement:
        """Return whether an answer, or its beginning, may be believed.

        Args:
            decision: what was decided before it was asked for.
            model: whose answer it is.
            confidence: what is recorded of it.
            score: its log-odds; None: it says nothing of itself.
            beginning: it is of the first tokens only.
            voted: it is of a vote. What was learned of votes says nothing of logprobs, nor the other way round.
        """
        candidate = decision.candidates[model.name]
        known = self._known(model) if voted == bool(self.samples) else NOTHING_KNOWN
        prior = Prior(candidate.prior.task) if known is NOTHING_KNOWN else candidate.prior
        gain = known.gain(prior, score, beginning=beginning)
        is_unknown = score is None or known is NOTHING_KNOWN
        accepted = gain <= candidate.threshold and not (candidate.is_guaranteed and is_unknown)
        return Judgement(model.name, score, gain, candidate.threshold, accepted, beginning, voted, confidence)

    def beginning_tokens(self, model: Model) -> int:
        """Return of how many first tokens it is known what they say of the answer; 0: of none."""
        return self._known(model).beginning_tokens


class Classifier(Learned):
    """The prompt alone decides."""

    name = "classifier"

    def _sight(self, model: Model, task: str, text: str) -> Prior:
        return Prior(task, [self._known(model).prompt_gain(text).gain])


def expected_usd(
    model: Model, evidence: Mapping[str, Evidence], task: str, prompt_tokens: int, *, answers: int = 1
) -> float | None:
    """Return the marginal dollars that a call is expected to cost; None where the price is unknown."""
    known = next((known for one in evidence.values() if (known := one.completion_tokens(task))), None)
    usage = Usage(prompt=prompt_tokens, completion=round((known or USUAL_ANSWER_TOKENS) * answers))
    nano = cost.marginal(usage, model.price)
    return None if nano is None else nano / NANO


def guaranteed(
    guarantee: Guarantee,
    fallback: Model,
    evidence: Mapping[str, Evidence],
    comparisons: Mapping[str, Sequence[Comparison]],
) -> dict[str, float | None]:
    """Return of each model the least -gain/usd at which its answers may be accepted; None: at none.

    Then, with the guarantee's confidence, at most `max_quality_loss` of all calls get a small model's answer that is
    worse than the fallback's. Of several small models each gets an equal part of both (Bonferroni): whoever answers,
    the sum holds. That some of their calls are not even looked at only lowers the risk.
    """
    scores = {
        name: [
            (-one.gain / (expected_usd(fallback, evidence, one.task, one.prompt_tokens) or 1.0), one.worse)
            for one in of
        ]
        for name, of in comparisons.items()
    }
    return {
        name: guaranteed_threshold(
            of, max_risk=guarantee.max_quality_loss / len(scores), delta=(1 - guarantee.confidence) / len(scores)
        )
        for name, of in scores.items()
    }


def saving(likely: Sequence[float], threshold: float, price: float) -> float:
    """Return what it saves to look at the small model's answer first, as a share of the fallback's dollars.

    A gain of t is worth one call of the fallback, so that is the value of looking divided by t; as t falls to 0, only
    answers that lose nothing are accepted, each of which spares that call.
    """
    if threshold <= LEAST_GAIN:
        return sum(gain <= threshold for gain in likely) / len(likely) - price
    finite = min(threshold, LARGEST_THRESHOLD)
    return value_of_looking(likely, finite, price) / finite


def whom_to_ask(rungs: Sequence[Rung], candidates: Mapping[str, Candidate]) -> tuple[int, list[str]]:
    """Return the rung to start at, and who is asked from there on: the best of it, and all above who are worth it.

    Of whom nothing is known, little is expected. The fallback, at which nobody looks, may always be asked.
    """
    worth = {
        name: LEAST_VALUE if candidate.value is None else candidate.value for name, candidate in candidates.items()
    }
    kept = [
        sorted((model.name for model in rung if worth.get(model.name, inf) > 0), key=lambda name: -worth.get(name, 0.0))
        for rung in rungs
    ]
    if not any(kept):  # the client wants no fallback
        kept = [[model.name for model in rung] for rung in rungs]
    best = [max((worth.get(name, 0.0) for name in names), default=-inf) for names in kept]
    start = max(range(len(rungs)), key=best.__getitem__)
    return start, [name for names in kept[start:] for name in names]
