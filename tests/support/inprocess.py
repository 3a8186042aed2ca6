"""The router in one process, over fakes: no sockets, no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from time import monotonic
from typing import Any

import pytest

from router.attempt.retry import Retries
from router.config.models import Config, Model, Route
from router.dispatcher import Dispatcher
from router.errors import ApiError
from router.learning.evidence import Evidence
from router.policy.base import Policy
from router.policy.cascade import Cascade
from router.policy.route_policies import RoutePolicies
from router.profile.learned import LearnedProfiles
from router.record import RequestRecord
from router.replicas.pool import Pool
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import ChatCall, Reply
from server.deadline import Deadline
from server.http.relay import smallfirst_headers
from tests.support.fakes import FakeUpstream, answers, call, config, large, model, pool, read_into


class Impatient(Random):
    """Dice with which no retry waits."""

    def uniform(self, a: float, b: float) -> float:
        return 0.0


class OneCascade(RoutePolicies):
    """One cascade for all calls, with evidence that no file holds."""

    def __init__(self, config: Config, evidence: Mapping[str, Evidence]) -> None:
        self.cascade = replace(Cascade.build(config.routes["auto"]), evidence=evidence)

    def of(self, route: Route, call: ChatCall) -> Policy:
        return self.cascade


@dataclass
class Dispatching:
    """A dispatcher over fakes. `models` from the lowest rung up; `script` by host (`slm-0`, `llm-0`, ...).

    `settings` are the route's; `evidence` among them is what was learned, by model.
    """

    models: Sequence[Model] = ()
    script: dict[str, list[Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    config: Config | None = None
    workers: GrammarWorkers = field(default_factory=GrammarWorkers)

    def __post_init__(self) -> None:
        models = self.models or (model(), large())
        settings = dict(self.settings)
        evidence = settings.pop("evidence", None)
        self.config = self.config or config(*models, **settings)
        self.pools: dict[str, Pool] = {one.name: pool(one) for one in models}
        defaults = {url.split("/")[2]: [answers()] for one in models for url in one.base_url}
        self.upstream = FakeUpstream(defaults | self.script)
        policies = RoutePolicies(self.config) if evidence is None else OneCascade(self.config, evidence)
        self.profiles = LearnedProfiles(self.config.models)
        self.dispatcher = Dispatcher(
            self.config,
            policies,
            self.pools,
            self.upstream,
            self.profiles,
            self.workers,
            retries=Retries(Impatient()),
        )
        self.record = RequestRecord("req_1", monotonic())

    async def ask(self, one: ChatCall | None = None, **fields: Any) -> list[bytes]:
        """Return the body, or the events, that the client gets."""
        self.record = RequestRecord("req_1", monotonic())
        async with asyncio.timeout(10), self.dispatch(one or call(**fields)) as reply:
            if reply.events is None:
                return [reply.body]
            return [event async for together in reply.events for event in together]

    @asynccontextmanager
    async def dispatch(self, one: ChatCall) -> AsyncIterator[Reply]:
        """What the endpoint does."""
        route = self.dispatcher.route(one.model)
        self.record.route = route.name
        async with (
            Deadline(one.routing.deadline_ms, self.record.started) as deadline,
            self.dispatcher.dispatch(one, route, self.record) as reply,
        ):
            if reply.events is None:
                deadline.disarm()
            yield reply

    async def breaks(self, error: type[ApiError], **fields: Any) -> tuple[list[bytes], ApiError]:
        """Return what came before the error, and it."""
        self.record = RequestRecord("req_1", monotonic())
        got: list[bytes] = []
        with pytest.raises(error) as caught:
            async with self.dispatch(call(stream=True, **fields)) as reply:
                await read_into(got, reply.events)
        return got, caught.value

    async def fails(self, error: type[ApiError], one: ChatCall | None = None, **fields: Any) -> ApiError:
        with pytest.raises(error) as caught:
            await self.ask(one, **fields)
        assert type(caught.value) is error
        self.all_is_released()
        return caught.value

    def all_is_released(self) -> None:
        for one in self.pools.values():
            assert one.status(monotonic()).in_flight == 0
        for exchange in self.upstream.exchanges:
            assert exchange.closed == 1

    @property
    def steps(self) -> list[tuple[str, str, str]]:
        return [(step.from_model, step.to_model, step.reason) for step in self.record.escalations]

    @property
    def tried(self) -> list[tuple[str, str]]:
        return [(attempt.replica, attempt.failure) for attempt in self.record.attempts]

    @property
    def headers(self) -> dict[str, str]:
        return {k.decode().removeprefix("x-smallfirst-"): v.decode() for k, v in smallfirst_headers(self.record)}
