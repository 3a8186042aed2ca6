"""What the replicas' own pages of metrics say, read at some moments of a run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.common.servers import NoAnswer, get

RUNNING = "vllm:num_requests_running"
GENERATED = "vllm:generation_tokens_total"
ENDED = "vllm:request_success_total"
"""no request that was aborted: vLLM counts those nowhere"""
REPEATED = f"{ENDED}:repetition"
CACHE_QUERIES = "vllm:prefix_cache_queries_total"
CACHE_HITS = "vllm:prefix_cache_hits_total"
STARTED = "process_start_time_seconds"

Reading = Mapping[str, float]
"""one replica's metrics; empty while it does not answer"""


async def read_all(engines: Sequence[str]) -> list[Reading]:
    """Return a reading of each replica."""
    return await asyncio.gather(*map(_read, engines))


def total(readings: Sequence[Reading], metric: str) -> float:
    """Return the sum of a metric over the replicas that answer."""
    return sum(reading.get(metric, 0.0) for reading in readings)


def sums(page: str, *prefixes: str) -> dict[str, float]:
    """Return the sum of each metric's series, in all and by outcome (`NAME:OUTCOME`); without histograms."""
    found: dict[str, float] = {}
    for line in page.splitlines():
        series, _, value = line.rpartition(" ")
        name = series.partition("{")[0]
        if not line.startswith(prefixes) or name.endswith(("_bucket", "_created", "_sum")):
            continue
        outcome = re.search(r'(?:outcome|finished_reason)="(\w+)"', series)
        for key in (name, f"{name}:{outcome[1]}") if outcome else (name,):
            found[key] = found.get(key, 0.0) + float(value)
    return found


def part(name: str, metrics: Sequence[str], moments: Mapping[str, Sequence[Reading]]) -> dict[str, Any]:
    """Return a part of the report: for each metric and replica, the values at the moments; None where it was down."""
    of_replica = list(zip(*moments.values(), strict=True))
    return {
        "part": name,
        "moments": list(moments),
        "metrics": {metric: [[reading.get(metric) for reading in one] for one in of_replica] for metric in metrics},
    }


async def _read(engine: str) -> Reading:
    try:
        answer = await get(engine, "/metrics")
    except NoAnswer:
        return {}
    return sums(await answer.text(), "vllm:", STARTED) if answer.status == 200 else {}
