"""Metrics for Prometheus. Counts are exact integers (money and time in billionths) until the scrape makes floats.

Labels are bounded: the label of a route or model that is missing or not configured is `none`. Each process has its
own counters. The process that answers a scrape adds up the counters of all.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from router.config.models import Config
from router.record import Attempt, ContinuationOutcome, Outcome, RequestRecord
from router.types import NANO, ConstraintKind, ModelStatus, VerdictWord
from server.observability.definitions import (
    CONFIDENCE_BUCKETS,
    COUNTERS,
    HISTOGRAMS,
    PREFIX,
    HistogramSpec,
)
from server.observability.gauges import gauges
from server.observability.shared_counters import Key, Labels, SharedCounters, sum_counters

NONE = "none"

Bounds = tuple[float, ...]
"""the upper bounds of a histogram's buckets"""
ADMISSION: Key = ("admission",)
"""two cells: how many requests have a slot, and how many wait for one"""


class _Series:
    """The cells of one route and model. A metric has cells, and appears in the scrape, from its first use on."""

    def __init__(self, counters: SharedCounters, bounds: Mapping[str, Bounds], route: str, model: str) -> None:
        self._counters, self._bounds, self._route, self._model = counters, bounds, route, model
        self._outcomes: dict[str, int] = {}

    def outcome(self, outcome: str) -> int:
        if (cell := self._outcomes.get(outcome)) is None:
            cell = self._outcomes[outcome] = self._allocate("requests_total", self._route, self._model, outcome)
        return cell

    @cached_property
    def duration(self) -> int:
        return self._histogram("request_duration_seconds")

    @cached_property
    def first_token(self) -> int:
        return self._histogram("time_to_first_token_seconds")

    @cached_property
    def cost(self) -> int:
        return self._allocate("cost_usd_total", self._route, self._model)

    @cached_property
    def fallback_cost(self) -> int:
        return self._allocate("fallback_cost_usd_total", self._route, self._model)

    @cached_property
    def unpriced(self) -> int:
        return self._allocate("unpriced_requests_total", self._route, self._model)

    def _allocate(self, *key: str) -> int:
        return self._counters.allocate(key)

    def _histogram(self, name: str) -> int:
        return self._counters.allocate((name, self._route, self._model), len(self._bounds[name]) + 2)


class Metrics(Collector):
    """All metrics of one gateway. For the event loop's thread only.

    `worker_counters` are the counters of all processes. `own` is the index of this process's counters.
    """

    def __init__(
        self,
        config: Config,
        statuses: Callable[[], Iterable[ModelStatus]],
        worker_counters: Sequence[SharedCounters] = (),
        own: int = 0,
    ) -> None:
        self._models = config.models
        self._routes = frozenset(config.routes) | frozenset(config.models)  # a pinned model is its own route
        self._statuses = statuses
        self._worker_counters = worker_counters or (SharedCounters(),)
        self._counters = self._worker_counters[own]
        self._bounds = {name: _bounds(spec, config) for name, spec in HISTOGRAMS.items()}
        self._series: dict[tuple[str, str], _Series] = {}
        self._token_cells_by_replica: dict[tuple[str, str], tuple[int, int, int]] = {}
        cell = self._counters.allocate(ADMISSION, 2)
        self.admission_counts = self._counters.cells[cell : cell + 2]
        """two cells into which admission writes how many requests have a slot, and how many wait for one"""
        self._initialise_counters(config)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def observe(self, record: RequestRecord) -> None:
        """Count one finished request. Requests to other than the text endpoints, such as `/health`, are not counted."""
        if not record.endpoint:
            return
        counters, route = self._counters, record.route
        series = self._series_for(route, record.model)
        counters.add(series.outcome(record.outcome), 1)
        bounds = self._bounds
        self._observe(series.duration, bounds["request_duration_seconds"], record.finished - record.started)
        if record.first_token_s is not None:
            self._observe(series.first_token, bounds["time_to_first_token_seconds"], record.first_token_s)
        if record.attempts:
            self._count_attempts(record, series)
        for step in record.escalations:
            ladder = self._model_label(step.from_model), self._model_label(step.to_model)
            self._count("escalations_total", self._route_label(route), *ladder, step.reason)
        for name, seconds in record.waits:
            waits = bounds["model_wait_seconds"]
            cell = self._counters.allocate(("model_wait_seconds", self._model_label(name)), len(waits) + 2)
            self._observe(cell, waits, seconds)
        for name, reason in record.retries:
            self._count("retries_total", self._model_label(name), reason)
        for name, reason in record.refused_retries:
            self._count("retries_refused_total", self._model_label(name), reason)
        for name, kind in record.misconfigured:
            self._count("misconfigured_total", self._model_label(name), kind)
        for name, result in record.hedges:
            self._count("hedges_total", self._model_label(name), result)
        for name, outcome in record.continuations:
            self._count("continuations_total", self._model_label(name), outcome)
        for name, kind, word in record.verdicts:
            self._count("structured_verdicts_total", self._model_label(name), kind, word)
        if record.best_effort and record.model:
            self._count("judged_answers_total", self._route_label(route), self._model_label(record.model), "unsure")
        for judged in record.judgements:
            labels = self._route_label(route), self._model_label(judged.model)
            self._count("judged_answers_total", *labels, "accepted" if judged.accepted else "rejected")
            cell = self._counters.allocate(("answer_confidence", *labels), len(CONFIDENCE_BUCKETS) + 2)
            self._observe(cell, CONFIDENCE_BUCKETS, judged.probability)

    def _count_attempts(self, record: RequestRecord, series: _Series) -> None:
        add = self._counters.add
        spent, last = 0, 0
        unpriced: set[_Series] = set()
        for attempt in record.attempts:
            tried = series if attempt.model == record.model else self._series_for(record.route, attempt.model)
            if (usage := attempt.usage) is not None:
                prompt, cached, completion = self._token_cells(attempt)
                add(prompt, usage.prompt)
                add(cached, usage.cached)
                add(completion, usage.completion)
            if (cost := attempt.cost_nano_usd) is None:
                unpriced.add(tried)
            else:
                add(tried.cost, cost)
                spent += cost
                last = cost
        for tried in unpriced:
            add(tried.unpriced, 1)
        if not unpriced:
            add(series.fallback_cost, _comparable_fallback_cost(record, spent, last))

    def _initialise_counters(self, config: Config) -> None:
        """Create counters at 0 before the first count. Prometheus sees an increase only if it has seen the 0 before."""
        for route in config.routes.values():
            for name in (*(model.name for model in route.ladder), NONE):
                for outcome in get_args(Outcome):
                    self._series_for(route.name, name).outcome(outcome)
            for model in route.ladder:
                self._count("unpriced_requests_total", route.name, model.name, amount=0)
        for name in config.models:
            for outcome in get_args(ContinuationOutcome):
                self._count("continuations_total", name, outcome, amount=0)
            for kind in get_args(ConstraintKind):
                for word in get_args(VerdictWord):
                    self._count("structured_verdicts_total", name, kind, word, amount=0)

    def _by_model_of_replica(self, tokens: Mapping[Labels, Sequence[int]]) -> dict[Labels, list[int]]:
        """Count the tokens of adapters for the model whose replicas they use, as its hours are."""
        sums: dict[Labels, list[int]] = {}
        for (name, replica, kind), [count] in tokens.items():
            model = self._models.get(name)
            owner = name if model is None else model.adapter_of or name
            sums.setdefault((owner, replica, kind), [0])[0] += count
        return sums

    def render(self) -> tuple[bytes, str]:
        """Return the body of a scrape and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def collect(self) -> Iterator[Metric]:
        """Yield every metric. prometheus_client calls it."""
        counted = sum_counters(self._worker_counters)
        by_replica = counted.get("replica_tokens_total", {})
        counted["tokens_total"] = _sum_over_replicas(by_replica)
        counted["replica_tokens_total"] = self._by_model_of_replica(by_replica)
        for name, (label_names, text, scale) in COUNTERS.items():
            counter = CounterMetricFamily(PREFIX + name, text, labels=label_names)
            for labels, [value] in counted.get(name, {}).items():
                counter.add_metric(labels, value / scale)
            yield counter
        for name, spec in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(PREFIX + name, spec.help, labels=spec.labels)
            upper_bounds = [*map(str, self._bounds[name]), "+Inf"]
            for labels, [*counts, billionths] in counted.get(name, {}).items():
                buckets = list(
                    zip(upper_bounds, accumulate(counts), strict=True)
                )  # each bucket includes those below it
                histogram.add_metric(labels, buckets, billionths / NANO)
            yield histogram
        [(in_flight, queued)] = counted[ADMISSION[0]].values()
        yield from gauges(in_flight, queued, list(self._statuses()), self._models)

    def _series_for(self, route: str, model: str) -> _Series:
        if found := self._series.get((route, model)):
            return found
        labels = self._route_label(route), self._model_label(model)
        if labels not in self._series:
            self._series[labels] = _Series(self._counters, self._bounds, *labels)
        return self._series[labels]

    def _token_cells(self, attempt: Attempt) -> tuple[int, int, int]:
        replica = attempt.model, attempt.replica
        if replica not in self._token_cells_by_replica:
            key = ("replica_tokens_total", *(replica if attempt.model in self._models else (NONE, NONE)))
            allocate = self._counters.allocate
            self._token_cells_by_replica[replica] = (
                allocate((*key, "prompt")),
                allocate((*key, "cached_prompt")),
                allocate((*key, "completion")),
            )
        return self._token_cells_by_replica[replica]

    def _observe(self, cell: int, bounds: Bounds, value: float) -> None:
        self._counters.add(cell + bisect_left(bounds, value), 1)
        self._counters.add(cell + len(bounds) + 1, round(value * NANO))

    def _count(self, *key: str, amount: int = 1) -> None:
        self._counters.add(self._counters.allocate(key), amount)

    def _model_label(self, model: str) -> str:
        return model if model in self._models else NONE

    def _route_label(self, route: str) -> str:
        return route if route in self._routes else NONE


def _bounds(spec: HistogramSpec, config: Config) -> Bounds:
    if not spec.limit:
        return spec.bounds
    limits = [getattr(model.timeouts, spec.limit) for model in config.models.values()]
    return spec.bounds_beyond(max(limits, default=0.0))


def _sum_over_replicas(of_replicas: Mapping[Labels, Sequence[int]]) -> dict[Labels, list[int]]:
    sums: dict[Labels, list[int]] = {}
    for (model, _, kind), [tokens] in of_replicas.items():
        sums.setdefault((model, kind), [0])[0] += tokens
    return sums


def _comparable_fallback_cost(record: RequestRecord, spent: int, last: int) -> int:
    """Return what the fallback would have cost. If that is unknown, return the cost itself, so no saving is claimed.

    `last` is the cost of the last attempt, which is the one that answered.
    """
    if not record.model:
        return 0
    if record.fallback is not None and record.model == record.fallback.name and record.fallback.price is not None:
        return last
    fallback_cost = record.bill().fallback
    return spent if fallback_cost is None else fallback_cost
