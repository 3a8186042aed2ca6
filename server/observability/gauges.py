"""The metrics that are read from the pools at each scrape. `metrics` has those that are counted by request."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from router.config.models import Model
from router.money import cost
from router.types import NANO, ModelStatus, ReplicaWork
from server.observability.definitions import PREFIX, SCRAPED_METRICS
from server.observability.shared_counters import Labels

Sample = tuple[Labels, float]


def gauges(
    in_flight: int, queued: int, statuses: Sequence[ModelStatus], models: Mapping[str, Model]
) -> Iterator[Metric]:
    """Yield every metric of `SCRAPED_METRICS`. `in_flight` and `queued` are sums over all processes."""
    yield _metric("requests_in_flight", [((), in_flight)])
    yield _metric("requests_queued", [((), queued)])
    yield _per_model("replicas", statuses, lambda status: status.replicas)
    yield _per_model("replicas_expected", statuses, lambda status: status.expected)
    yield _per_model("replicas_up", statuses, lambda status: status.up)
    yield _per_model("replica_in_flight", statuses, lambda status: status.in_flight)
    yield _per_model("replica_restarts_total", statuses, lambda status: status.restarts)
    yield _per_replica("replica_up_seconds_total", statuses, lambda _, work: work.up_s)
    yield _per_replica("replica_busy_seconds_total", statuses, lambda _, work: work.busy_s)
    yield _per_replica("replica_paid_usd_total", statuses, lambda model, work: _paid_usd(models[model], work))
    # an adapter is loaded with its model, and counted as its model's
    own = [status for status in statuses if models[status.model].adapter_of is None]
    loads = [(status.model, status.load) for status in own if status.load is not None]
    yield _metric("model_loads_total", [((model,), load.loads) for model, load in loads])
    unloads = [((model, reason), count) for model, load in loads for reason, count in load.unloads.items()]
    yield _metric("model_unloads_total", unloads)
    yield _metric("requests_waiting", [((model,), load.waiting) for model, load in loads])
    yield _metric("model_info", [((name, model.tier), 1) for name, model in models.items()])
    yield _metric("build_info", [((version("smallfirst"),), 1)])


def _metric(name: str, samples: Iterable[Sample]) -> Metric:
    labels, text = SCRAPED_METRICS[name]
    family = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    metric = family(PREFIX + name, text, labels=labels)
    for values, value in samples:
        metric.add_metric(values, value)
    return metric


def _per_model(name: str, statuses: Sequence[ModelStatus], value: Callable[[ModelStatus], int]) -> Metric:
    return _metric(name, [((status.model,), value(status)) for status in statuses])


def _per_replica(
    name: str, statuses: Sequence[ModelStatus], value: Callable[[str, ReplicaWork], float | None]
) -> Metric:
    values = ((status.model, work, value(status.model, work)) for status in statuses for work in status.work)
    return _metric(name, [((model, work.replica), sample) for model, work, sample in values if sample is not None])


def _paid_usd(model: Model, work: ReplicaWork) -> float | None:
    paid = None if model.price is None else cost.time_cost(work.paid_s, model.price)
    return None if paid is None else paid / NANO
