"""The policies of one configuration: which one takes a call, its route's or the one that the client names."""

from __future__ import annotations

from collections.abc import Mapping

from router.config.models import Config, Route
from router.errors import BadRequest, ConfigError
from router.policy import POLICIES
from router.policy.base import Policy
from router.types import ChatCall


class RoutePolicies:
    """All policies of all routes.

    Raises:
        ConfigError: a route's option names what cannot be used; the message names the file and why.
    """

    def __init__(self, config: Config) -> None:
        self._of_routes = {route.name: _build(route) for route in config.routes.values()}

    def of(self, route: Route, call: ChatCall) -> Policy:
        """Return the policy for a call. A client that demands a confidence gets a policy that reads it.

        Raises:
            BadRequest: the client names a policy that its route cannot have, or contradicts itself or the route.
        """
        policies, wanted = self._policies(route), call.routing
        own = policies[route.policy]
        own.check(wanted)
        demands_confidence = wanted.min_confidence is not None
        if demands_confidence and wanted.hold == "none":
            raise BadRequest(
                "'routing.hold' 'none' lets an answer leave before its confidence is known, "
                "and routing.min_confidence demands that.",
                param="routing.hold",
            )
        name = wanted.policy or ("cascade" if demands_confidence and not own.reads_confidence else route.policy)
        if demands_confidence and not POLICIES[name].reads_confidence:
            readers = " and ".join(repr(other) for other, policy in POLICIES.items() if policy.reads_confidence)
            raise BadRequest(
                f"'routing.min_confidence' is read by the policies {readers}, not by {name!r}.",
                param="routing.min_confidence",
            )
        if found := policies.get(name):
            return found
        raise BadRequest(
            f"'routing.policy' {name!r} needs what was learned of the route; '{route.name}' has no evidence.",
            param="routing.policy",
            code="unsupported_value",
        )

    def _policies(self, route: Route) -> Mapping[str, Policy]:
        policies = self._of_routes.get(route.name)
        if policies is None:  # a pinned model is its own route
            policies = self._of_routes[route.name] = _build(route)
        return policies


def _build(route: Route) -> Mapping[str, Policy]:
    built = {name: policy.build(route) for name, policy in POLICIES.items()}
    if built[route.policy] is None:
        raise ConfigError(f"routes.{route.name}.policy: {route.policy} lacks what it needs on this route")
    return {name: policy for name, policy in built.items() if policy is not None}
