"""A route's guarantee: how often a small model's answer may be worse than the fallback's. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import Field

from router.config.models import Model
from router.learning.calibration import guaranteed_threshold
from router.learning.evidence import Comparison, Evidence
from router.money import cost
from router.types import NANO, Usage
from router.yaml.entry import Entry

DEFAULT_ANSWER_TOKENS = 128
"""of the fallback's answers, if nothing is known of such calls"""


class Guarantee(Entry):
    """With this confidence, at most this share of a route's calls gets an answer worse than the fallback's."""

    max_quality_loss: float = Field(gt=0, lt=1, description="Share of the calls that may get a worse answer.")
    confidence: float = Field(0.9, gt=0, lt=1, description="Probability with which the bound holds.")


def expected_usd(
    model: Model, evidence: Mapping[str, Evidence], task: str, prompt_tokens: int, *, answers: int = 1
) -> float | None:
    """Return the marginal dollars that a call is expected to cost, or None if the price is unknown."""
    known = next((known for one in evidence.values() if (known := one.completion_tokens(task))), None)
    usage = Usage(prompt=prompt_tokens, completion=round((known or DEFAULT_ANSWER_TOKENS) * answers))
    nano = cost.marginal_cost(usage, model.price)
    return None if nano is None else nano / NANO


def least_scores(
    guarantee: Guarantee,
    fallback: Model,
    evidence: Mapping[str, Evidence],
    comparisons: Mapping[str, Sequence[Comparison]],
) -> dict[str, float | None]:
    """Return each model's least -gain/usd at which its answers may be accepted, or None to accept none.

    Then, with the guarantee's confidence, at most `max_quality_loss` of all calls get a small model's answer that is
    worse than the fallback's. Several small models get equal parts of both (Bonferroni), so the sum holds whichever
    answers. Calls that skip a small model only lower the risk.
    """
    scores = {
        name: [
            (-one.gain / (expected_usd(fallback, evidence, one.task, one.prompt_tokens) or 1.0), one.worse)
            for one in of_model
        ]
        for name, of_model in comparisons.items()
    }
    return {
        name: guaranteed_threshold(
            of_model,
            max_risk=guarantee.max_quality_loss / len(scores),
            delta=(1 - guarantee.confidence) / len(scores),
        )
        for name, of_model in scores.items()
    }
