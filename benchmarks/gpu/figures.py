"""From measured rounds to the figures of the report. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.stats import bootstrap, percentile
from benchmarks.gpu.money import UTILISATIONS, usd_per_mtok
from benchmarks.gpu.sweep import Layout
from benchmarks.vllm.report import raw_samples
from benchmarks.vllm.samples import ABBA, Round, Sample, busiest_background, by_workload, ratio, speed


def of_layout(layout: Layout, source: str, gpu_hour_usd: float) -> dict[str, Any]:
    """Return the figures of one layout at each concurrency. Of a local `source`, only the name is shown."""
    shown = Path(source).name if source.startswith("/") else source
    return {
        "layout": str(layout.variant),
        "models_yaml": layout.models_yaml.replace(source, shown),
        "commands": layout.commands,
        "started_in_s": round(layout.started_in_s, 1),
        "restarts_until_ready": layout.restarts,
        "gpu_memory_used_mib": layout.gpu_memory_used_mib,
        "engines": [{"kv_cache_tokens": one.kv_cache_tokens, **one.counters} for one in layout.engines],
        "loads": [of_rounds(rounds, gpu_hour_usd) for rounds in by_workload(layout.rounds)],
    }


def of_rounds(rounds: Sequence[Round], gpu_hour_usd: float) -> dict[str, Any]:
    """Return the figures of the rounds of one concurrency."""
    samples = {target: [sample for one in rounds for sample in one.of(target)] for target in ABBA[:2]}
    every = [sample for of in samples.values() for sample in of]
    estimate = bootstrap(rounds, ratio)
    fastest = speed(samples["gateway"])
    return {
        "concurrency": rounds[0].workload.concurrency,
        "requests_of_a_sample": rounds[0].workload.requests,
        "prompt_tokens": samples["direct"][0].prompt_tokens,
        "max_tokens": rounds[0].workload.max_tokens,
        "ratio": {"value": estimate.value, "low": estimate.low, "high": estimate.high},
        **{target: latencies(of) for target, of in samples.items()},
        "gateway_cpu": gateway_cpu(samples["gateway"]),
        "others_busy_most": busiest_background(every),
        "client_busy_most": max(sample.client_busy for sample in every),
        "usd_per_mtok": {str(share): usd_per_mtok(gpu_hour_usd, fastest, share) for share in UTILISATIONS},
        "rounds": [raw_samples(one) for one in rounds],
    }


def latencies(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the speed of one target, and the times of all its streams in milliseconds."""
    first = [value for sample in samples for value in sample.first_ms]
    gaps = [value for sample in samples for value in sample.gap_ms]
    return {
        "tokens_per_s": speed(samples),
        "streams": sum(sample.requests for sample in samples),
        "first_ms_p50": percentile(first, 0.5),
        "first_ms_p99": percentile(first, 0.99),
        "gap_ms_p50": percentile(gaps, 0.5),
    }


def gateway_cpu(samples: Sequence[Sample]) -> dict[str, float] | None:
    """Return the gateway's CPU microseconds per request and per event, and its share of one core."""
    used = [sample.gateway_cpu_s for sample in samples if sample.gateway_cpu_s is not None]
    if len(used) < len(samples):
        return None
    total = sum(used)
    return {
        "us_per_request": total * 1e6 / sum(sample.requests for sample in samples),
        "us_per_event": total * 1e6 / max(1, sum(sample.events for sample in samples)),
        "share_of_a_core": total / sum(sample.seconds for sample in samples),
    }


def compare(layouts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compare the throughput through the gateway of each further layout with the first, at each concurrency."""
    first, *others = layouts
    by_concurrency = {load["concurrency"]: load for load in first["loads"]}
    return [
        {
            "concurrency": load["concurrency"],
            "layout": layout["layout"],
            "against": first["layout"],
            "ratio": load["gateway"]["tokens_per_s"] / before["gateway"]["tokens_per_s"],
            "first_ms_p50": [before["gateway"]["first_ms_p50"], load["gateway"]["first_ms_p50"]],
            "gap_ms_p50": [before["gateway"]["gap_ms_p50"], load["gateway"]["gap_ms_p50"]],
        }
        for layout in others
        for load in layout["loads"]
        if (before := by_concurrency.get(load["concurrency"]))
    ]
