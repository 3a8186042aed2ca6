"""What a policy is. Pure: no I/O, no clock."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

from router.config.models import Model, Route, Rung
from router.decision import Decision, Escalated
from router.judge.base import Judge
from router.types import ChatCall, RoutingOptions
from router.yaml.entry import Entry

NO_LATENCIES: Mapping[str, float] = MappingProxyType({})


class Situation(NamedTuple):
    """What a policy decides on."""

    call: ChatCall
    rungs: Sequence[Rung]
    """those that the client allows, cheapest first"""
    latencies: Mapping[str, float] = NO_LATENCIES
    """model -> seconds until its recent answers could leave; empty unless the policy `reads_latencies`"""
    escalated: Escalated | None = None
    """an earlier turn of the conversation was escalated; None: none was, or nothing is known of it"""


class NextAttempt(NamedTuple):
    """The attempt whose answer may have to be judged."""

    call: ChatCall
    model: Model
    decision: Decision
    is_structured: bool
    """the answer must have a format"""
    rung_above: bool
    """a model on a higher rung can be asked instead"""


class PolicyOptions(Entry):
    """The keys that a route of models.yaml has for its policy, beside `ladder` and `policy`."""

    @classmethod
    def of(cls, route: Route) -> Self:
        """Return the route's options, or, if the route has another policy, the options that both policies share.

        A request may name another policy than its route's, so every policy is built for every route.
        """
        options = route.options
        if isinstance(options, cls):
            return options
        shared: dict[str, Any] = {} if options is None else dict(options)
        return cls.model_construct(**{key: value for key, value in shared.items() if key in cls.model_fields})


class Policy(ABC):
    """Decides for the calls of one route."""

    name: ClassVar[str]
    """as models.yaml and requests name it"""
    Options: ClassVar[type[PolicyOptions]] = PolicyOptions
    reasons: ClassVar[Mapping[str, str]]
    """every `reason` of its decisions -> what it means"""
    reads_confidence: ClassVar[bool] = False
    """it accepts an answer, or asks a model, by a threshold on confidence: `routing.min_confidence` has a meaning"""

    judges: ClassVar[bool] = False
    """it has a `judge`"""

    @classmethod
    @abstractmethod
    def build(cls, route: Route) -> Policy | None:
        """Return the policy for a route, or None if the route lacks what it needs. `Options.of(route)` has its keys.

        Raises:
            ConfigError: what an option names cannot be used.
        """

    @property
    def reads_latencies(self) -> bool:
        """Return whether decisions depend on how long the models take."""
        return False

    def check(self, routing: RoutingOptions) -> None:  # noqa: B027 - most policies have nothing to check
        """Check what a client asks of this route's calls.

        Raises:
            BadRequest: it contradicts what the route promises.
        """

    @abstractmethod
    def decide(self, situation: Situation) -> Decision:
        """Return the models to ask, in order, or the rung to start at; and why."""

    def judge(self, attempt: NextAttempt) -> Judge | None:
        """Return the judge for the next answer, or None to accept it unjudged."""
        return None
