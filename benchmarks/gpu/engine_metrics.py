"""What a vLLM process reports at /metrics: the size of its KV cache, and how much it did."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.common.servers import get

COUNTERS = {
    "generated_tokens": "vllm:generation_tokens_total",
    "preemptions": "vllm:num_preemptions_total",
    "prefix_cache_queries": "vllm:prefix_cache_queries_total",
    "prefix_cache_hits": "vllm:prefix_cache_hits_total",
}


@dataclass(frozen=True, slots=True)
class EngineMetrics:
    """One process. `kv_cache_tokens` is how many tokens its KV cache holds; None: not reported."""

    kv_cache_tokens: int | None
    counters: Mapping[str, float]


async def scrape(root: str) -> EngineMetrics:
    """Read the metrics of one vLLM.

    Raises:
        NoAnswer: it does not answer.
    """
    return parse(await (await get(root, "/metrics")).text())


def parse(text: str) -> EngineMetrics:
    """Parse vLLM's page of metrics."""
    blocks = re.search(r'^vllm:cache_config_info\{.*\bnum_gpu_blocks="(\d+)"', text, re.MULTILINE)
    size = re.search(r'^vllm:cache_config_info\{.*\bblock_size="(\d+)"', text, re.MULTILINE)
    tokens = int(blocks[1]) * int(size[1]) if blocks and size else None
    return EngineMetrics(tokens, {key: _sum(text, name) for key, name in COUNTERS.items()})


def _sum(text: str, name: str) -> float:
    return sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))
