"""The prompt alone decides: what was learned of such prompts says which model starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import model_validator

from router.config.models import Model, Route
from router.decision import Prior
from router.policy import register
from router.policy.cascade import CascadeOptions
from router.policy.learned import Learned
from router.policy.learned_options import LearnedOptions, load_learnings
from router.policy.stay import REASONS


class ClassifierOptions(LearnedOptions):
    """Keys of a route with `policy: classifier`."""

    @model_validator(mode="after")
    def _check_evidence(self) -> ClassifierOptions:
        if self.evidence is None:
            raise ValueError("`policy: classifier` needs `evidence`, which `smallfirst calibrate` makes")
        return self


@register
@dataclass(frozen=True, slots=True)
class Classifier(Learned):
    """Ask a small model if its answer to such a prompt will probably do."""

    name = "classifier"
    Options = ClassifierOptions
    reads_confidence = True
    reasons: ClassVar = {
        "classifier": "A small model was asked, as its answer to such a prompt will probably do.",
        "classifier: skipped": "No small model was asked first: its answer would probably not do.",
        **REASONS,
    }

    @classmethod
    def build(cls, route: Route) -> Classifier | None:
        """Return the policy with what the route's evidence says, or None if the route has no evidence."""
        options = ClassifierOptions.of(route)
        if options.evidence is None:
            return None
        shared = CascadeOptions.of(route)  # a client may ask for this policy on a route of `cascade`
        return cls(
            route.fallback,
            *load_learnings(route, options, guarantee=shared.guarantee, samples=shared.samples or 0),
        )

    def _prior(self, model: Model, task: str, text: str) -> Prior:
        return Prior(task, [self._known(model).prompt_gain(text).gain])
