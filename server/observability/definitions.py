"""All metrics: names, labels and help texts. docs/reference/metrics.md is made from these tables."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from router.types import NANO
from server.observability.shared_counters import Labels

PREFIX = "smallfirst_"

DURATION_BUCKETS_S = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0
)  # fmt: skip
FIRST_TOKEN_BUCKETS_S = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0
)  # fmt: skip
LONGER_BUCKETS_S = (120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
"""continue the buckets where models.yaml allows longer times"""
CONFIDENCE_BUCKETS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class CounterSpec(NamedTuple):
    """A counter. `scale` is how many of our units make one of Prometheus's."""

    labels: Labels
    help: str
    scale: int = 1


class HistogramSpec(NamedTuple):
    """A histogram. Its cells: one for each bucket, then the sum in billionths."""

    labels: Labels
    help: str
    bounds: tuple[float, ...]
    limit: str = ""
    """the key of `timeouts` in models.yaml that limits the values: the bounds go on beyond the largest of them"""

    def bounds_beyond(self, limit_s: float) -> tuple[float, ...]:
        """Return the bounds, continued by those up to the first above `limit_s`."""
        further = [bound for bound in LONGER_BUCKETS_S if bound > self.bounds[-1]]
        needed = bisect_right(further, limit_s) + 1 if limit_s >= self.bounds[-1] else 0
        return (*self.bounds, *further[:needed])


COUNTERS = {
    "requests_total": CounterSpec(("route", "model", "outcome"), "Finished requests."),
    "tokens_total": CounterSpec(
        ("model", "kind"),
        "Tokens of all attempts, as counted by the upstreams. The kind cached_prompt is a part of prompt.",
    ),
    "replica_tokens_total": CounterSpec(
        ("model", "replica", "kind"),
        "Tokens of all attempts, by replica and the model that has it; an adapter's tokens count for its model.",
    ),
    "cost_usd_total": CounterSpec(
        ("route", "model"), "US dollars that all attempts cost, by the model that was tried.", NANO
    ),
    "fallback_cost_usd_total": CounterSpec(
        ("route", "model"),
        "US dollars that the fallback would have cost, by the model that answered. Minus the cost it is the saving.",
        NANO,
    ),
    "unpriced_requests_total": CounterSpec(
        ("route", "model"),
        "Requests with an attempt of unknown cost, because the price or the usage is missing.",
    ),
    "escalations_total": CounterSpec(
        ("route", "from_model", "to_model", "reason"), "Escalations to a higher rung of the ladder."
    ),
    "retries_total": CounterSpec(("model", "reason"), "Retries on the same rung."),
    "misconfigured_total": CounterSpec(
        ("model", "kind"),
        "Requests that a model's upstream refused because it is not set up for them: its key, account, model_name, "
        "tool_parser or chat_template.",
    ),
    "retries_refused_total": CounterSpec(("model", "reason"), "Retries that the retry budget refused."),
    "hedges_total": CounterSpec(
        ("model", "result"),
        "Streams that a second replica was asked for, too, because they began late; `won`: the second one began first.",
    ),
    "continuations_total": CounterSpec(
        ("model", "outcome"),
        "Streams that broke off after their beginning: continued by another replica, ended because only the end was "
        "missing, diverged because another replica gave another answer, or impossible to continue.",
    ),
    "structured_verdicts_total": CounterSpec(
        ("model", "kind", "verdict"), "Answers whose format was checked, by verdict."
    ),
    "judged_answers_total": CounterSpec(
        ("route", "model", "verdict"), "Answers, or their beginnings, whose confidence was judged, by verdict."
    ),
}
HISTOGRAMS = {
    "request_duration_seconds": HistogramSpec(
        ("route", "model"),
        "Seconds from the start of the request to the end of the answer.",
        DURATION_BUCKETS_S,
        limit="total_s",
    ),
    "time_to_first_token_seconds": HistogramSpec(
        ("route", "model"),
        "Seconds from the start of the request to the first content of the answer.",
        FIRST_TOKEN_BUCKETS_S,
        limit="first_byte_s",
    ),
    "model_wait_seconds": HistogramSpec(
        ("model",), "Seconds that requests waited for a model to be loaded.", DURATION_BUCKETS_S, limit="load_s"
    ),
    "answer_confidence": HistogramSpec(
        ("route", "model"),
        "Estimated probability that a judged answer is as good as the fallback's.",
        CONFIDENCE_BUCKETS,
    ),
}
SCRAPED_METRICS: dict[str, tuple[Labels, str]] = {
    "requests_in_flight": ((), "Requests that have a slot and are processed."),
    "requests_queued": ((), "Requests that wait in the queue for a slot."),
    "replicas": (("model",), "Replicas that are configured."),
    "replicas_expected": (
        ("model",),
        "Replicas that should be up now: not those of a model that is unloaded on purpose, or not loaded yet.",
    ),
    "replicas_up": (("model",), "Replicas that can serve requests."),
    "replica_in_flight": (("model",), "Requests that the replicas are processing, including those for adapters."),
    "replica_restarts_total": (("model",), "Restarts of replicas."),
    "replica_up_seconds_total": (("model", "replica"), "Seconds for which the replica was up."),
    "replica_busy_seconds_total": (("model", "replica"), "Seconds for which the replica had at least one request."),
    "replica_paid_usd_total": (
        ("model", "replica"),
        "US dollars that the replica cost while it was loaded, with the time that it was idle or was being loaded.",
    ),
    "model_loads_total": (("model",), "How often a model that is not always loaded was loaded."),
    "model_unloads_total": (("model", "reason"), "How often it was unloaded, by reason."),
    "requests_waiting": (("model",), "Requests that wait for the model to be loaded."),
    "model_info": (("model", "tier"), "Always 1. The labels give a model and its tier."),
    "build_info": (("version",), "Always 1. The label gives the version."),
}
"""the metrics that are read from the pools at each scrape: labels, help; counters end in `_total`, others are gauges"""
METRIC_NAMES = frozenset(PREFIX + name for name in (*COUNTERS, *HISTOGRAMS, *SCRAPED_METRICS))
"""as Prometheus sees them; a histogram's name is without `_bucket`, `_sum` and `_count`"""
