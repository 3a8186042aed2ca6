"""The keys of models.yaml for the policies that learn, and the evidence file that they name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationInfo, WrapValidator

from router.config.models import Route
from router.errors import ConfigError
from router.learning.evidence import Evidence
from router.learning.evidence_file import EvidenceFile
from router.money.cost import SECONDS_PER_HOUR
from router.money.price import Usd
from router.policy.base import PolicyOptions
from router.policy.guarantee import Guarantee, least_scores

log = logging.getLogger("smallfirst.policy")

DEFAULT_MIN_CONFIDENCE = 0.8


def _beside_models_yaml(value: object, handler: Any, info: ValidationInfo) -> Path:
    text: str = handler(value)
    return Path((info.context or {}).get("folder", ".")) / text


EvidencePath = Annotated[str, Field(min_length=1), WrapValidator(_beside_models_yaml)]


class LearnedOptions(PolicyOptions):
    """Keys that `cascade` and `classifier` share."""

    evidence: EvidencePath | None = Field(
        None,
        description="File that `smallfirst calibrate` wrote, relative to models.yaml. "
        "Without it, confidence is uncalibrated.",
    )
    min_confidence: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Least probability that a small model's answer is as good as the fallback's (0.8).",
    )
    waiting_usd_per_hour: Usd = Field(0.0, description="Dollar value of one hour of client waiting.")


@lru_cache(maxsize=1)
def _evidence(path: Path, _modified_ns: int) -> EvidenceFile:
    """Read a file once for all policies of a route, which are built one after the other."""
    return EvidenceFile.load(path)


class Learnings(NamedTuple):
    """What a policy knows, and by which threshold it decides. See `router.policy.learned.Learned`."""

    evidence: Mapping[str, Evidence]
    min_confidence: float | None
    least_scores: Mapping[str, float | None]
    waiting_usd_per_s: float


def load_learnings(
    route: Route, options: LearnedOptions, *, guarantee: Guarantee | None = None, samples: int = 0
) -> Learnings:
    """Read the evidence that a route's options name.

    Raises:
        ConfigError: the evidence cannot be used; the message names the file and why.
    """
    least = options.min_confidence
    if least is None and guarantee is None:
        least = DEFAULT_MIN_CONFIDENCE
    waiting_usd_per_s = options.waiting_usd_per_hour / SECONDS_PER_HOUR
    if options.evidence is None:
        return Learnings({}, least, {}, waiting_usd_per_s)
    path = Path(options.evidence)
    file = _evidence(path, path.stat().st_mtime_ns if path.exists() else 0)
    for name, here, there in (
        ("route", route.name, file.route),
        ("fallback", route.fallback.name, file.fallback),
        ("samples", samples, file.samples),
    ):
        if here != there:
            raise ConfigError(f"{path}: {name}: it was made for {there!r}, routes.{route.name} has {here!r}")
    is_own = options is route.options  # every policy is built for every route; one of them warns
    known = {model.name: file.models[model.name] for model in route.ladder if model.name in file.models}
    for model in route.ladder:
        if is_own and model is not route.fallback and model.name not in known:
            log.warning("route %s: %s has no evidence of %s", route.name, path, model.name)
    if guarantee is None:
        return Learnings(known, least, {}, waiting_usd_per_s)
    comparisons = {name: file.comparisons.get(name, ()) for name in known}
    scores = least_scores(guarantee, route.fallback, known, comparisons)
    for name, score in scores.items():
        if is_own and score is None:
            log.warning(
                "route %s: only %d comparisons of %s: too few for the guarantee; its answers are not accepted",
                route.name, len(comparisons[name]), name,
            )  # fmt: skip
    return Learnings(known, least, scores, waiting_usd_per_s)
