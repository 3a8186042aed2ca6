"""What all requests of one configuration share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from router.attempt.hedge import Hedging
from router.attempt.retry import Retries
from router.config.models import Config
from router.conversations import Conversations
from router.policy.route_policies import RoutePolicies
from router.profile.learned import LearnedProfiles
from router.replicas.latency import LatencyAverages
from router.replicas.pool import Pool
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers
from router.upstream.base import Upstream


@dataclass(slots=True)
class Services:
    """The pools of one configuration, and what decides about them and talks to them."""

    config: Config
    policies: RoutePolicies
    pools: Mapping[str, Pool]
    upstream: Upstream
    profiles: LearnedProfiles
    workers: GrammarWorkers
    conversations: Conversations = field(default_factory=Conversations)
    constraints: ConstraintCompiler = field(init=False)
    latencies: LatencyAverages = field(default_factory=LatencyAverages)
    retries: Retries = field(default_factory=Retries)
    hedging: Hedging = field(init=False)
    both_reasoning_names: bool = False
    """clients get thoughts as `reasoning`, too"""
    begins_inside_thoughts: set[str] = field(default_factory=set)
    """models whose answers had the end of their thoughts in the content, without the beginning"""

    def __post_init__(self) -> None:
        self.hedging = Hedging(self.upstream)
        self.constraints = ConstraintCompiler(self.workers)
