"""From measured rounds to the figures of the report. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.money import UTILISATIONS, usd_per_mtok
from benchmarks.gpu.sweep import Layout
from benchmarks.vllm.legs import ABBA, Leg, Round, most_others, ratio, speed
from benchmarks.vllm.report import by_work, plain_legs
from benchmarks.vllm.stats import bootstrap, percentile


def of_layout(layout: Layout, source: str, gpu_hour_usd: float) -> dict[str, Any]:
    """Return what one layout did, for each concurrency; of a `source` on this machine only its name."""
    shown = Path(source).name if source.startswith("/") else source
    return {
        "replicas": layout.replicas,
        "models_yaml": layout.models_yaml.replace(source, shown),
        "commands": layout.commands,
        "started_in_s": round(layout.started_in_s, 1),
        "restarts_until_ready": layout.restarts,
        "gpu_memory_used_mib": layout.gpu_memory_used_mib,
        "engines": [{"kv_cache_tokens": one.kv_cache_tokens, **one.counters} for one in layout.engines],
        "loads": [of_rounds(rounds, gpu_hour_usd) for rounds in by_work(layout.rounds)],
    }


def of_rounds(rounds: Sequence[Round], gpu_hour_usd: float) -> dict[str, Any]:
    """Return what the rounds of one concurrency say."""
    legs = {side: [leg for one in rounds for leg in one.of(side)] for side in ABBA[:2]}
    estimate = bootstrap(rounds, ratio)
    fastest = speed(legs["gateway"])
    return {
        "concurrency": rounds[0].work.concurrency,
        "requests_of_a_leg": rounds[0].work.requests,
        "prompt_tokens": legs["direct"][0].prompt_tokens,
        "max_tokens": rounds[0].work.max_tokens,
        "ratio": {"value": estimate.value, "low": estimate.low, "high": estimate.high},
        **{side: latencies(mine) for side, mine in legs.items()},
        "gateway_cpu": gateway_cpu(legs["gateway"]),
        "others_busy_most": most_others(leg for mine in legs.values() for leg in mine),
        "client_busy_most": max(leg.client_busy for mine in legs.values() for leg in mine),
        "usd_per_mtok": {str(share): usd_per_mtok(gpu_hour_usd, fastest, share) for share in UTILISATIONS},
        "rounds": [plain_legs(one) for one in rounds],
    }


def latencies(legs: Sequence[Leg]) -> dict[str, float]:
    """Return the speed of one side, and the times of all its streams, milliseconds."""
    first = [value for leg in legs for value in leg.first_ms]
    gaps = [value for leg in legs for value in leg.gap_ms]
    return {
        "tokens_per_s": speed(legs),
        "streams": sum(leg.requests for leg in legs),
        "first_ms_p50": percentile(first, 0.5),
        "first_ms_p99": percentile(first, 0.99),
        "gap_ms_p50": percentile(gaps, 0.5),
    }


def gateway_cpu(legs: Sequence[Leg]) -> dict[str, float] | None:
    """Return the CPU microseconds of the gateway for a request and for an event, and its share of one core."""
    used = [leg.gateway_cpu_s for leg in legs if leg.gateway_cpu_s is not None]
    if len(used) < len(legs):
        return None
    total = sum(used)
    return {
        "us_per_request": total * 1e6 / sum(leg.requests for leg in legs),
        "us_per_event": total * 1e6 / max(1, sum(leg.events for leg in legs)),
        "share_of_a_core": total / sum(leg.seconds for leg in legs),
    }


def compare(layouts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return, for each concurrency, each further layout's throughput through the gateway against the first one's."""
    first, *others = layouts
    by_concurrency = {load["concurrency"]: load for load in first["loads"]}
    return [
        {
            "concurrency": load["concurrency"],
            "replicas": layout["replicas"],
            "against": first["replicas"],
            "ratio": load["gateway"]["tokens_per_s"] / before["gateway"]["tokens_per_s"],
            "first_ms_p50": [before["gateway"]["first_ms_p50"], load["gateway"]["first_ms_p50"]],
            "gap_ms_p50": [before["gateway"]["gap_ms_p50"], load["gateway"]["gap_ms_p50"]],
        }
        for layout in others
        for load in layout["loads"]
        if (before := by_concurrency.get(load["concurrency"]))
    ]
