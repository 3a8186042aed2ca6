"""Which policy takes a call: its route's, or the one that the client names; with what was learned for the route."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from router.config.models import Config, Route
from router.errors import BadRequest, ConfigError
from router.learning.evidence import Evidence
from router.learning.evidence_file import EvidenceFile
from router.money.cost import SECONDS_PER_HOUR
from router.policy.base import Policy
from router.policy.fixed import Fixed
from router.policy.heuristic import Heuristic
from router.policy.learned import USUAL_MIN_CONFIDENCE, Cascade, Classifier, guaranteed
from router.types import ChatCall, PolicyName

log = logging.getLogger("smallfirst.policy")


class Policies:
    """All policies of one configuration.

    Raises:
        ConfigError: the evidence of a route cannot be used; the message names the file and why.
    """

    def __init__(self, config: Config) -> None:
        files = {path: EvidenceFile.load(path) for route in config.routes.values() if (path := route.evidence)}
        self._of_routes = {route.name: _all(route, files) for route in config.routes.values()}

    def of(self, route: Route, call: ChatCall) -> Policy:
        """Return the policy for a call. A client that demands a confidence wants one that looks at it.

        Raises:
            BadRequest: the client names a policy that its route cannot have.
        """
        wanted = call.routing
        demanding = wanted.min_confidence is not None and route.policy in ("fixed", "heuristic")
        name = wanted.policy or ("cascade" if demanding else route.policy)
        voided = wanted.hold in ("first", "none") if route.guarantee else wanted.hold == "none"
        if voided and (route.guarantee or wanted.min_confidence is not None):
            raise BadRequest(
                f"'routing.hold' {wanted.hold!r} lets an answer leave before it is known how sure it is, and "
                f"{'this route guarantees that' if route.guarantee else 'routing.min_confidence demands that'}.",
                param="routing.hold",
            )
        if wanted.min_confidence is not None and name in ("fixed", "heuristic"):
            raise BadRequest(
                f"'routing.min_confidence' is read by the policies 'cascade' and 'classifier', not by {name!r}.",
                param="routing.min_confidence",
            )
        policies = self._of_routes.get(route.name)
        if policies is None:  # a pinned model is its own route
            policies = self._of_routes[route.name] = _all(route, {})
        if found := policies.get(name):
            return found
        raise BadRequest(
            f"'routing.policy' 'classifier' needs what was learned of the route; '{route.name}' has no evidence.",
            param="routing.policy",
            code="unsupported_value",
        )


def _all(route: Route, files: Mapping[Path, EvidenceFile]) -> Mapping[PolicyName, Policy]:
    usual: dict[PolicyName, Policy] = {"fixed": Fixed(), "heuristic": Heuristic(route.threshold)}
    least = route.min_confidence
    if least is None and route.guarantee is None:
        least = USUAL_MIN_CONFIDENCE
    waiting, samples = route.waiting_usd_per_hour / SECONDS_PER_HOUR, route.samples or 0
    if route.evidence is None:
        return usual | {"cascade": Cascade(route.fallback, {}, least, {}, waiting, samples)}
    file = files[route.evidence]
    _check(route, file)
    known = {model.name: file.models[model.name] for model in route.ladder if model.name in file.models}
    for model in route.ladder:
        if model is not route.fallback and model.name not in known:
            log.warning("route %s: %s knows nothing of %s", route.name, route.evidence, model.name)
    scores = _least_scores(route, file, known)
    return usual | {
        "cascade": Cascade(route.fallback, known, least, scores, waiting, samples),
        "classifier": Classifier(route.fallback, known, least, scores, waiting),
    }


def _check(route: Route, file: EvidenceFile) -> None:
    for name, here, there in (
        ("route", route.name, file.route),
        ("fallback", route.fallback.name, file.fallback),
        ("samples", route.samples or 0, file.samples),
    ):
        if here != there:
            raise ConfigError(f"{route.evidence}: {name}: it was made for {there!r}, routes.{route.name} has {here!r}")


def _least_scores(route: Route, file: EvidenceFile, known: Mapping[str, Evidence]) -> dict[str, float | None]:
    if route.guarantee is None:
        return {}
    comparisons = {name: file.comparisons.get(name, ()) for name in known}
    scores = guaranteed(route.guarantee, route.fallback, known, comparisons)
    for name, score in scores.items():
        if score is None:
            log.warning(
                "route %s: %d comparisons of %s do not suffice for the guarantee: its answers are not accepted",
                route.name, len(comparisons[name]), name,
            )  # fmt: skip
    return scores
