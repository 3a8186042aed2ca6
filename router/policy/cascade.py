"""The small model answers first, and the confidence of its answer decides whether the next rung is asked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from pydantic import Field, model_validator

from router.config.models import Model, Route
from router.decision import Confidence, Decision, Judgement, Prior
from router.errors import BadRequest
from router.judge.base import AcceptanceRule, Judge, JudgedCall
from router.judge.logprob import LogprobJudge
from router.judge.stream import StreamJudge
from router.judge.voting import VotingJudge
from router.policy import register
from router.policy.base import NextAttempt
from router.policy.guarantee import Guarantee
from router.policy.learned import NO_EVIDENCE, Learned
from router.policy.learned_options import LearnedOptions, load_learnings
from router.policy.stay import REASONS
from router.types import ChatCall, RoutingOptions, StreamHold


class CascadeOptions(LearnedOptions):
    """Keys of a route with `policy: cascade`."""

    guarantee: Guarantee | None = Field(
        None, description="Bounds how often a worse answer gets through, instead of `min_confidence`."
    )
    hold: StreamHold | None = Field(
        None,
        description="How much of a stream waits for its confidence: `whole`, the `first` tokens of a text, or `none`. "
        "Default: `first`; with a guarantee `whole`.",
    )
    samples: int | None = Field(
        None,
        ge=2,
        le=32,
        description="Ask for so many answers; confidence is then the share that agrees, not the logprobs.",
    )

    @model_validator(mode="after")
    def _check_guarantee(self) -> CascadeOptions:
        if self.guarantee is None:
            return self
        if self.min_confidence is not None:
            raise ValueError("`guarantee` and `min_confidence` are two ways to say what is good enough; take one")
        if self.evidence is None:
            raise ValueError("`guarantee` needs `evidence`, which `smallfirst calibrate` makes")
        if self.hold in ("first", "none"):
            raise ValueError(f"`guarantee` covers whole answers: `hold: {self.hold}` lets them go before their end")
        return self


@register
@dataclass(frozen=True, slots=True)
class Cascade(Learned):
    """Ask a small model if its answer will probably do; accept the answer if it is sure enough."""

    name = "cascade"
    Options = CascadeOptions
    reads_confidence = True
    judges = True
    reasons: ClassVar = {
        "cascade": "A small model was asked first, as the expected saving exceeds its price.",
        "cascade: skipped": "No small model was asked first: its answer would probably be rejected.",
        **REASONS,
    }

    samples: int = 0
    """how many answers vote, as in the evidence; 0: confidence comes from logprobs"""
    hold: StreamHold | None = None
    is_guaranteed: bool = False

    @classmethod
    def build(cls, route: Route) -> Cascade:
        """Return the policy with what the route's evidence says."""
        options = CascadeOptions.of(route)
        samples, guarantee = options.samples or 0, options.guarantee
        learnings = load_learnings(route, options, guarantee=guarantee, samples=samples)
        hold = options.hold or ("whole" if guarantee else None)
        return cls(route.fallback, *learnings, samples, hold, guarantee is not None)

    def check(self, routing: RoutingOptions) -> None:
        """Refuse to send what a guarantee has to judge first.

        Raises:
            BadRequest: `routing.hold` lets an answer leave before it is judged.
        """
        if self.is_guaranteed and routing.hold in ("first", "none"):
            raise BadRequest(
                f"'routing.hold' {routing.hold!r} lets an answer leave before its confidence is known, "
                "and this route guarantees that.",
                param="routing.hold",
            )

    def votes_on(self, call: ChatCall) -> int:
        """Return how many answers to a call vote, or 0 if confidence comes from logprobs."""
        return self.samples if call.endpoint.has_messages and call.choices == 1 and not call.stream else 0

    def judge(self, attempt: NextAttempt) -> Judge | None:
        """Return the judge for a small model's answer.

        None for the fallback's answer. None also for a model that cannot report its confidence, unless the client or a
        guarantee demands one.
        """
        call, model = attempt.call, attempt.model
        candidate = attempt.decision.candidates.get(model.name)
        if candidate is None:
            return None
        demanded = call.routing.min_confidence is not None
        hold = call.routing.hold or self.hold or "first"
        votes, has_logprobs = self.votes_on(call), "logprobs" in model.abilities
        is_judged = votes > 0 or has_logprobs or demanded or candidate.is_guaranteed
        if not is_judged or (call.stream and hold == "none") or not (attempt.rung_above or demanded):
            return None
        judged = JudgedCall(call, self.acceptance(attempt.decision, model), has_logprobs, attempt.is_structured)
        if call.stream:
            return StreamJudge(judged, self._known(model).beginning_tokens if hold == "first" else 0)
        return VotingJudge(judged, votes) if votes else LogprobJudge(judged)

    def acceptance(self, decision: Decision, model: Model) -> AcceptanceRule:
        """Return the rule by which a model's answers are accepted."""
        return partial(self._accept, decision, model)

    def _accept(
        self,
        decision: Decision,
        model: Model,
        confidence: Confidence | None,
        score: float | None,
        *,
        beginning: bool = False,
        voted: bool = False,
    ) -> Judgement:
        candidate = decision.candidates[model.name]
        # evidence of votes says nothing of logprobs, nor the other way round
        known = self._known(model) if voted == bool(self.samples) else NO_EVIDENCE
        prior = Prior(candidate.prior.task) if known is NO_EVIDENCE else candidate.prior
        gain = known.gain(prior, score, beginning=beginning)
        is_unknown = score is None or known is NO_EVIDENCE
        accepted = gain <= candidate.threshold and not (candidate.is_guaranteed and is_unknown)
        return Judgement(model.name, score, gain, candidate.threshold, accepted, beginning, voted, confidence)

    def _prior(self, model: Model, task: str, text: str) -> Prior:
        return self._known(model).prior(task, text)
