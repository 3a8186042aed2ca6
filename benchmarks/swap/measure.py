"""One run: a gateway with a swap group, requests for all of its models, and samples of what is loaded meanwhile."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.common import load
from benchmarks.common.gateway import gateway_environment, serve_command
from benchmarks.common.load import Answer, Endpoint
from benchmarks.common.machine import ROOT
from benchmarks.common.processes import Command, Processes, free_port
from benchmarks.common.report import Say
from benchmarks.common.servers import CHAT, get
from tests.support.standin_vllm import install
from tests.support.tiny_llama import make_tiny_llama

SAMPLE_S = 0.1
LIMIT_S = 600.0
GROUP = "small"
NAMES = "abcdefghijklmnopqrstuvwxyz"
WORD_S = 0.005
"""what a stand-in takes for a token"""


async def measure_swaps(options: argparse.Namespace, folder: Path, say: Say) -> dict[str, Any]:
    """Return the figures of the run.

    Raises:
        StartFailed: the gateway did not start.
    """
    names = NAMES[: options.models]
    config = folder / "models.yaml"
    config.write_text(json.dumps(_config(options, folder, names)), encoding="utf-8")
    port = free_port()
    command = serve_command(config, port, (f"--workers={options.workers}",))
    asked = _requests(options, names)
    with Processes(folder) as processes:
        environment = _environment(options, folder)
        processes.start(Command("smallfirst serve", command, port, environment), folder / "gateway.log")
        root = f"http://127.0.0.1:{port}"
        say(f"{options.requests} requests for {options.models} models, {options.keep} loaded at a time")
        began = perf_counter()
        sampling = asyncio.create_task(_sample(root, began))
        bodies = [json.dumps(body).encode() for body in asked]
        try:
            answers = await load.run(
                Endpoint(root + CHAT),
                bodies,
                requests=options.requests,
                concurrency=options.concurrency,
                keep=True,
                timeout_s=LIMIT_S,
            )
        finally:
            sampling.cancel()
        samples = (await asyncio.gather(sampling, return_exceptions=True))[0]
        assert isinstance(samples, list)
        counted = _metrics(await (await get(root, "/metrics")).text())
    rows = [_row(body, answer, began) for body, answer in zip(asked, answers, strict=True)]
    names_of_options = ("models", "keep", "requests", "concurrency", "max_tokens", "turn_s", "workers")
    return {
        "options": {name: getattr(options, name) for name in names_of_options},
        "engine": f"stand-ins that start in {options.load_s:g} s" if options.stand_in else "vLLM",
        "figures": figures(rows, samples, counted),
        "requests": rows,
        "samples": samples,
    }


def figures(
    rows: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]], counted: Mapping[str, float]
) -> dict[str, Any]:
    """Return the figures of the report."""
    per_model = Counter(row["model"] for row in rows)
    return {
        "seconds": max(row["ended"] for row in rows),
        "answered": sum(not row["error"] for row in rows),
        "errors": sorted({row["error"] for row in rows if row["error"]}),
        "by_the_wrong_model": sum(row["answered_by"] != row["model"] for row in rows if not row["error"]),
        "per_model": dict(sorted(per_model.items())),
        "most_loaded": max(sum(phase in ("loaded", "draining") for phase in one["phases"].values()) for one in samples),
        "swaps": _sum(counted, "smallfirst_model_unloads_total", 'reason="swap"'),
        "loads": _sum(counted, "smallfirst_model_loads_total"),
        "waited": _sum(counted, "smallfirst_model_wait_seconds_count"),
        "waited_s": _sum(counted, "smallfirst_model_wait_seconds_sum"),
        "restarts": _sum(counted, "smallfirst_replica_restarts_total"),
        "in_flight": _sum(counted, "smallfirst_requests_in_flight"),
        "on_replicas": _sum(counted, "smallfirst_replica_in_flight"),
        "waiting": _sum(counted, "smallfirst_requests_waiting"),
    }


def _config(options: argparse.Namespace, folder: Path, names: str) -> dict[str, Any]:
    models = {}
    for name in names:
        weights = folder / f"weights-{name}"
        if options.stand_in:
            weights.mkdir()
        else:
            make_tiny_llama(weights)
        models[name] = {
            "tier": "slm",
            "engine": "vllm",
            "source": str(weights),
            "context": 512,
            "timeouts": {"load_s": LIMIT_S},
        }
    group = {"models": list(names), "keep": options.keep, "turn_s": options.turn_s}
    return {"models": models, "swap": {GROUP: group}}


def _environment(options: argparse.Namespace, folder: Path) -> dict[str, str]:
    environment = gateway_environment(os.environ) | {"SMALLFIRST_STATE_DIR": str(folder / "state")}
    path = [str(ROOT)]
    if options.stand_in:
        path.insert(0, str(install(folder / "packages")))
        environment |= {"VLLM_STANDIN_LOAD_S": str(options.load_s), "VLLM_STANDIN_WORD_S": str(WORD_S)}
        environment["SMALLFIRST_WARM_START"] = "false"
    return environment | {"PYTHONPATH": os.pathsep.join(path)}


def _requests(options: argparse.Namespace, names: str) -> list[dict[str, Any]]:
    """Return the bodies: every model as often, in random order; every second one is a stream."""
    order = [names[number % len(names)] for number in range(options.requests)]
    random.Random(1).shuffle(order)
    return [
        {
            "model": name,
            "messages": [{"role": "user", "content": f"Request {number}"}],
            "max_tokens": options.max_tokens,
            "stream": number % 2 == 1,
        }
        for number, name in enumerate(order)
    ]


async def _sample(root: str, began: float) -> list[dict[str, Any]]:
    """Read the phase of each model and the waiting requests until cancelled; return all samples."""
    samples: list[dict[str, Any]] = []
    try:
        while True:
            models = (await (await get(root, "/ready")).json(content_type=None))["models"]
            phases = {name: model["load"] for name, model in models.items()}
            waiting = {name: model["waiting"] for name, model in models.items()}
            samples.append({"at": round(perf_counter() - began, 3), "phases": phases, "waiting": waiting})
            await asyncio.sleep(SAMPLE_S)
    except asyncio.CancelledError:
        return samples


def _row(body: Mapping[str, Any], answer: Answer, began: float) -> dict[str, Any]:
    found = re.search(rb'"model": ?"(\w+)"', answer.body)
    return {
        "model": body["model"],
        "stream": body["stream"],
        "started": round(answer.started - began, 3),
        "ended": round(answer.ended - began, 3),
        "answered_by": found[1].decode() if found else "",
        "error": answer.error,
    }


def _metrics(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {series: float(value) for series, _, value in lines}


def _sum(counted: Mapping[str, float], name: str, label: str = "") -> float:
    return sum(value for series, value in counted.items() if series.partition("{")[0] == name and label in series)
