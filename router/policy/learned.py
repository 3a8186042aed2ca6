"""What the policies that learn have in common: which models are worth asking, and the threshold on the gain. Pure.

Both go by one threshold t on the gain, the quality that the fallback's answer has over the small model's:

1. A small model is asked if the expected saving exceeds its own price (`value_of_information`); among several, the one
   with the greatest value. `cascade` knows what the answers to such calls left to expect, `classifier` what the prompt
   does.
2. In a cascade, its answer is accepted if the gain that it leaves to expect is at most t.
3. Otherwise the next rung is asked.
4. In a conversation that was escalated, a small model below is asked again only if its answer will still probably be
   accepted, and that is still worth its price.

t is 1 - `min_confidence`, or the dollars that the fallback's answer will cost times what one dollar has to bring; the
latter follows from the guarantee. Decisions use marginal costs: a replica paid by the hour is already paid.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from statistics import fmean

from msgspec.structs import replace

from router.config.models import Model, Rung
from router.decision import Candidate, Decision, Prior
from router.learning.evidence import Evidence
from router.learning.fingerprint import fingerprint
from router.learning.value_of_information import MIN_GAIN, value_of_information
from router.messages.prompt import rough_tokens, texts
from router.policy.base import Policy, Situation
from router.policy.guarantee import expected_usd
from router.policy.learned_options import DEFAULT_MIN_CONFIDENCE
from router.policy.stay import REASON, start_of
from router.types import ChatCall

VALUE_WITHOUT_EVIDENCE = 1e-9
"""models without evidence rank last, before the fallback"""
ROUNDING = 1e-12
"""a threshold is lowered by this share, so that an answer with exactly the gain it was worked out from is rejected"""
ACCEPTS_ALL = 1e6
"""with this threshold, every answer is accepted"""
NO_EVIDENCE = Evidence()
"""an answer's confidence is uncalibrated"""
EVIDENCE_TURNS = 2
"""for one conversation, the evidence of all weighs as much as so many of its own turns"""


@dataclass(frozen=True, slots=True)
class Learned(Policy):
    """What both policies know."""

    fallback: Model
    """the model that the small ones are compared with"""
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    """what was learned of each small model, by its name"""
    min_confidence: float | None = DEFAULT_MIN_CONFIDENCE
    """the least probability that an answer is as good as the fallback's; None: the guarantee decides"""
    least_scores: Mapping[str, float | None] = field(default_factory=dict)
    """see `router.policy.guarantee.least_scores`"""
    waiting_usd_per_s: float = 0.0
    """the value of a client's time"""

    @property
    def reads_latencies(self) -> bool:
        """Return whether a client's time has a price."""
        return self.waiting_usd_per_s > 0

    def decide(self, situation: Situation) -> Decision:
        """Return the models that are worth asking; on a rung, the model of the greatest value comes first."""
        call, rungs, latencies, _ = situation
        task, text, tokens = fingerprint(call, call.routing.task), "\n\n".join(texts(call)), rough_tokens(call)
        fallback_usd = expected_usd(self.fallback, self.evidence, task, tokens)
        candidates: dict[str, Candidate] = {}
        for model in (model for rung in rungs for model in rung if model is not self.fallback):
            usd = expected_usd(model, self.evidence, task, tokens, answers=self.votes_on(call) or 1)
            price = self._price(usd, latencies.get(model.name), fallback_usd, latencies.get(self.fallback.name))
            candidates[model.name] = self.candidate(self._prior(model, task, text), model, call, price, fallback_usd)
        start, order = asking_order(rungs, candidates)
        if given_up := given_up_in_conversation(situation, candidates).intersection(order):
            candidates |= {name: replace(candidates[name], value=0.0) for name in given_up}
            start, order = asking_order(rungs, candidates)
        first = candidates.get(order[0])
        hardness = min(1.0, max(0.0, fmean(first.prior.likely))) if first and first.prior.likely else None
        reason = REASON if given_up else self.name if first or not candidates else f"{self.name}: skipped"
        return Decision(start, reason, hardness, order, call.routing.min_confidence, fallback_usd, candidates)

    @abstractmethod
    def _prior(self, model: Model, task: str, text: str) -> Prior:
        """Return what is known of a model's answer to a text before it is asked."""

    def votes_on(self, call: ChatCall) -> int:
        """Return how many answers to a call vote, or 0 if confidence comes from logprobs."""
        return 0

    def candidate(
        self, prior: Prior, model: Model, call: ChatCall, price: float, fallback_usd: float | None
    ) -> Candidate:
        """Return what asking a model first is worth, given what is known of it and what it costs."""
        threshold, is_guaranteed = self._threshold(model, call, fallback_usd)
        value = saving(prior.likely, threshold, price) if prior.likely else 0.0 if threshold == -inf else None
        return Candidate(prior, threshold, price, is_guaranteed, value)

    def _price(
        self, usd: float | None, latency_s: float | None, fallback_usd: float | None, fallback_latency_s: float | None
    ) -> float:
        """Return what asking a model costs as a share of the fallback, in dollars and in the client's time.

        An unknown price or latency counts as 0.
        """
        if fallback_usd is None:
            return 0.0
        worth = self.waiting_usd_per_s if latency_s is not None and fallback_latency_s is not None else 0.0
        of_model = (usd or 0.0) + worth * (latency_s or 0.0)
        of_fallback = fallback_usd + worth * (fallback_latency_s or 0.0)
        if not of_model:
            return 0.0
        return of_model / of_fallback if of_fallback else inf

    def _threshold(self, model: Model, call: ChatCall, fallback_usd: float | None) -> tuple[float, bool]:
        """Return the largest gain that an accepted answer may leave to expect, and whether a guarantee sets it."""
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
        return self.evidence.get(model.name, NO_EVIDENCE)


def saving(likely: Sequence[float], threshold: float, price: float) -> float:
    """Return what asking the small model first saves, as a share of the fallback's dollars.

    A gain of t is worth one call of the fallback, so the saving is the value of information divided by t. As t falls
    to 0, only answers that lose nothing are accepted, and each of them spares one call.
    """
    if threshold <= MIN_GAIN:
        return sum(gain <= threshold for gain in likely) / len(likely) - price
    finite = min(threshold, ACCEPTS_ALL)
    return value_of_information(likely, finite, price) / finite


def given_up_in_conversation(situation: Situation, candidates: Mapping[str, Candidate]) -> set[str]:
    """Return the models below the one at which the conversation stays that are not worth asking again."""
    at, escalated = start_of(situation), situation.escalated
    if at is None or escalated is None:
        return set()
    below = (model.name for rung in situation.rungs[:at] for model in rung)
    return {name for name in below if not is_worth_again(candidates[name], escalated.times)}


def is_worth_again(candidate: Candidate, escalations: int) -> bool:
    """Return whether to ask a small model first in a conversation that was escalated so many times.

    The share of its answers that are accepted is the evidence's, updated with the conversation's own turns, of which
    it failed (the mean of a beta distribution). Most of its answers must do, and what is saved must exceed its price.
    """
    likely, value = candidate.prior.likely, candidate.value
    if not likely or value is None:
        return False
    share = EVIDENCE_TURNS / (EVIDENCE_TURNS + escalations)
    accepted = sum(gain <= candidate.threshold for gain in likely) / len(likely)
    return accepted * share > 0.5 and (value + candidate.price) * share > candidate.price


def asking_order(rungs: Sequence[Rung], candidates: Mapping[str, Candidate]) -> tuple[int, list[str]]:
    """Return the rung to start at, and the models to ask from there on: its best, and all above that are worth it.

    Models without evidence rank last. The fallback, which is no candidate, may always be asked.
    """
    worth = {
        name: VALUE_WITHOUT_EVIDENCE if candidate.value is None else candidate.value
        for name, candidate in candidates.items()
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
