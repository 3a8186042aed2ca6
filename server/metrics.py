"""What Prometheus sees. Counts are exact integers (money: nano-dollars) and become floats at the scrape only.

Labels are bounded: a route or model that is not configured, or none, is `none`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from itertools import accumulate
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from router.config import Config
from router.cost import NANO
from router.record import Outcome, RequestRecord
from router.types import ConstraintKind, ModelStatus, VerdictWord
from server.admission import Admission

PREFIX = "smallfirst_"
NONE = "none"

DURATION_BUCKETS_S = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0
)  # fmt: skip
FIRST_TOKEN_BUCKETS_S = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0
)  # fmt: skip

_LABELS: dict[str, tuple[str, ...]] = {
    "requests_total": ("route", "model", "outcome"),
    "request_duration_seconds": ("route", "model"),
    "time_to_first_token_seconds": ("route", "model"),
    "tokens_total": ("model", "kind"),
    "cost_usd_total": ("route", "model"),
    "fallback_cost_usd_total": ("route", "model"),
    "unpriced_requests_total": ("route", "model"),
    "escalations_total": ("route", "from_model", "to_model", "reason"),
    "retries_total": ("model", "reason"),
    "structured_verdicts_total": ("model", "kind", "verdict"),
    "requests_in_flight": (),
    "requests_queued": (),
    "replicas": ("model",),
    "replicas_up": ("model",),
    "replica_in_flight": ("model",),
    "replica_restarts_total": ("model",),
    "model_info": ("model", "tier"),
    "build_info": ("version",),
}
METRIC_NAMES = frozenset(PREFIX + name for name in _LABELS)
"""as Prometheus knows them; a histogram's name without `_bucket`, `_sum`, `_count`"""

Labels = tuple[str, ...]


class _Metric(Protocol):
    def family(self) -> Metric:
        """Return the samples as they are now."""


class _Counter:
    """An integer for each tuple of label values, of which `scale` make one of Prometheus's unit."""

    def __init__(self, name: str, text: str, scale: int = 1) -> None:
        self._name, self._text, self._scale = name, text, scale
        self._values: defaultdict[Labels, int] = defaultdict(int)

    def add(self, amount: int, *labels: str) -> None:
        self._values[labels] += amount

    def family(self) -> Metric:
        family = CounterMetricFamily(PREFIX + self._name, self._text, labels=_LABELS[self._name])
        for labels, value in self._values.items():
            family.add_metric(labels, value / self._scale)
        return family


class _Histogram:
    """Seconds, counted in buckets, for each tuple of label values."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...]) -> None:
        self._name, self._text, self._bounds = name, text, bounds
        self._counts: dict[Labels, list[int]] = {}
        self._sums: defaultdict[Labels, float] = defaultdict(float)

    def observe(self, seconds: float, *labels: str) -> None:
        counts = self._counts.setdefault(labels, [0] * (len(self._bounds) + 1))
        counts[bisect_left(self._bounds, seconds)] += 1
        self._sums[labels] += seconds

    def family(self) -> Metric:
        family = HistogramMetricFamily(PREFIX + self._name, self._text, labels=_LABELS[self._name])
        names = [*map(str, self._bounds), "+Inf"]
        for labels, counts in self._counts.items():
            buckets = list(zip(names, accumulate(counts), strict=True))  # each has those below it too
            family.add_metric(labels, buckets, self._sums[labels])
        return family


class _Reading:
    """Read at the scrape: (label values, value)."""

    def __init__(
        self,
        name: str,
        text: str,
        read: Callable[[], Iterable[tuple[Labels, int]]],
        family: type[GaugeMetricFamily] | type[CounterMetricFamily] = GaugeMetricFamily,
    ) -> None:
        self._name, self._text, self._read, self._family = name, text, read, family

    def family(self) -> Metric:
        family = self._family(PREFIX + self._name, self._text, labels=_LABELS[self._name])
        for labels, value in self._read():
            family.add_metric(labels, value)
        return family


class Metrics(Collector):
    """All metrics of one gateway. Used from the event loop's thread only."""

    def __init__(self, config: Config, admission: Admission, statuses: Callable[[], Iterable[ModelStatus]]) -> None:
        self._models = frozenset(config.models)
        self._routes = frozenset(config.routes) | self._models  # a pinned model is its own route
        self._requests = _Counter("requests_total", "Finished requests.")
        self._duration = _Histogram(
            "request_duration_seconds", "From the request's start to the answer's end.", DURATION_BUCKETS_S
        )
        self._first_token = _Histogram(
            "time_to_first_token_seconds",
            "From the request's start to its first content.",
            FIRST_TOKEN_BUCKETS_S,
        )
        self._tokens = _Counter(
            "tokens_total", "Tokens of all attempts, as upstreams count; cached_prompt is a part of prompt."
        )
        self._cost = _Counter("cost_usd_total", "Spent in all attempts, by the model that was tried.", NANO)
        self._fallback_cost = _Counter(
            "fallback_cost_usd_total",
            "What the fallback would have cost, by the model that answered; less the cost it is the saving.",
            NANO,
        )
        self._unpriced = _Counter(
            "unpriced_requests_total", "Requests with an attempt of unknown cost: no price, or no usage."
        )
        self._escalations = _Counter("escalations_total", "Steps up the ladder.")
        self._retries = _Counter("retries_total", "Further tries on the same rung.")
        self._verdicts = _Counter("structured_verdicts_total", "Checked answers.")
        self._all: tuple[_Metric, ...] = (
            self._requests,
            self._duration,
            self._first_token,
            self._tokens,
            self._cost,
            self._fallback_cost,
            self._unpriced,
            self._escalations,
            self._retries,
            self._verdicts,
            *_readings(config, admission, statuses),
        )
        self._begin_at_zero(config)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def observe(self, record: RequestRecord) -> None:
        """Count one finished request; what is no call for text (`/health`, an unknown path) is left out."""
        if not record.endpoint:
            return
        route = record.route if record.route in self._routes else NONE
        model = self._known(record.model)
        self._requests.add(1, route, model, record.outcome)
        self._duration.observe(record.finished - record.started, route, model)
        if record.first_token_s is not None:
            self._first_token.observe(record.first_token_s, route, model)
        unpriced = set()
        for attempt in record.attempts:
            tried = self._known(attempt.model)
            if attempt.usage is not None:
                self._tokens.add(attempt.usage.prompt, tried, "prompt")
                self._tokens.add(attempt.usage.cached, tried, "cached_prompt")
                self._tokens.add(attempt.usage.completion, tried, "completion")
            if attempt.cost_nano_usd is None:
                unpriced.add(tried)
            else:
                self._cost.add(attempt.cost_nano_usd, route, tried)
        for tried in unpriced:
            self._unpriced.add(1, route, tried)
        if record.attempts and not unpriced:
            self._fallback_cost.add(_to_compare_with(record), route, model)
        for step in record.escalations:
            ladder = self._known(step.from_model), self._known(step.to_model)
            self._escalations.add(1, route, *ladder, step.reason)
        for name, reason in record.retries:
            self._retries.add(1, self._known(name), reason)
        for name, kind, word in record.verdicts:
            self._verdicts.add(1, self._known(name), kind, word)

    def _begin_at_zero(self, config: Config) -> None:
        """Show what may be counted before it is: Prometheus sees an increase from 0, but none from nothing."""
        for route in config.routes.values():
            for name in (*(model.name for model in route.ladder), NONE):
                for outcome in get_args(Outcome):
                    self._requests.add(0, route.name, name, outcome)
            for model in route.ladder:
                self._unpriced.add(0, route.name, model.name)
        for name in config.models:
            for kind in get_args(ConstraintKind):
                for word in get_args(VerdictWord):
                    self._verdicts.add(0, name, kind, word)

    def render(self) -> tuple[bytes, str]:
        """Return the page for a scrape and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; prometheus_client calls it."""
        for metric in self._all:
            yield metric.family()

    def _known(self, model: str) -> str:
        return model if model in self._models else NONE


def _to_compare_with(record: RequestRecord) -> int:
    """Return what the fallback would have cost; where that is not known, the cost itself: no saving is claimed."""
    if record.fallback_cost_nano_usd is not None:
        return record.fallback_cost_nano_usd
    return (record.cost_nano_usd or 0) if record.model else 0


def _readings(
    config: Config, admission: Admission, statuses: Callable[[], Iterable[ModelStatus]]
) -> tuple[_Reading, ...]:
    def of_model(field: Callable[[ModelStatus], int]) -> Callable[[], Iterable[tuple[Labels, int]]]:
        return lambda: (((status.model,), field(status)) for status in statuses())

    build = (version("smallfirst"),)
    tiers = [((name, model.tier), 1) for name, model in config.models.items()]
    return (
        _Reading("requests_in_flight", "Requests that hold a slot.", lambda: [((), admission.in_flight)]),
        _Reading("requests_queued", "Requests that wait for a slot.", lambda: [((), admission.queued)]),
        _Reading("replicas", "Configured replicas.", of_model(lambda status: status.replicas)),
        _Reading("replicas_up", "Replicas that can serve.", of_model(lambda status: status.up)),
        _Reading("replica_in_flight", "Requests at the replicas.", of_model(lambda status: status.in_flight)),
        _Reading(
            "replica_restarts_total",
            "Times that a replica was started again.",
            of_model(lambda status: status.restarts),
            CounterMetricFamily,
        ),
        _Reading("model_info", "Always 1; the labels are a model and its tier.", lambda: tiers),
        _Reading("build_info", "Always 1; the label is the version.", lambda: [(build, 1)]),
    )
