"""One layout, started for real and measured at rising concurrency."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import load
from benchmarks.gpu.engine import Engine, look
from benchmarks.vllm.bodies import Bodies, prompt_tokens
from benchmarks.vllm.launch import Launched, Say, launched
from benchmarks.vllm.legs import Round, Work
from benchmarks.vllm.measure import Bench
from benchmarks.vllm.sides import Side, serving

PROBE_WORDS = (32, 96)


@dataclass(frozen=True, slots=True)
class Layout:
    """What was started, and what it did."""

    replicas: int
    models_yaml: str
    commands: tuple[str, ...]
    started_in_s: float
    restarts: int
    engines: tuple[Engine, ...]
    """as they were after the measurement"""
    gpu_memory_used_mib: int | None
    rounds: tuple[Round, ...]


async def measure(text: str, replicas: int, options: argparse.Namespace, folder: Path, say: Say) -> Layout:
    """Start the layout that a models.yaml describes, measure it, and stop it.

    Raises:
        StartFailed: it did not come up.
        LoadFailed, UnequalWork: an answer was not as it must be.
    """
    config = folder / f"models-{replicas}.yaml"
    config.write_text(text, encoding="utf-8")
    most = max(options.concurrency)
    flags = (f"--state-dir={folder / 'state'}", f"--max-in-flight={max(256, most)}")
    env = {"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {}
    log = folder / f"gateway-{replicas}.log"
    async with launched(config, log, say, flags=flags, env=env, limit_s=options.start_limit) as started:
        again = f", {started.restarts} restarts" if started.restarts else ""
        say(f"ready after {started.started_in_s:.0f} s{again}")
        model, roots = await serving(started.engines, None)
        direct = Side("direct", roots, model)
        gateway = Side("gateway", (started.root,), model, pids=started.pids, tree=started.tree)
        words = await words_for(direct, options.prompt_tokens)
        works = [work(concurrency, options) for concurrency in options.concurrency]
        rounds = await Bench(direct, gateway, Bodies(words), say).rounds(works, options.rounds)
        return await _layout(text, replicas, started, rounds, used=options.device == "gpu")


async def _layout(text: str, replicas: int, started: Launched, rounds: Sequence[Round], *, used: bool) -> Layout:
    engines = [await look(root) for root in started.engines]
    return Layout(
        replicas=replicas,
        models_yaml=text,
        commands=started.commands,
        started_in_s=started.started_in_s,
        restarts=started.restarts,
        engines=tuple(engines),
        gpu_memory_used_mib=memory_used_mib() if used else None,
        rounds=tuple(rounds),
    )


def work(concurrency: int, options: argparse.Namespace) -> Work:
    """Return the load of one leg: streams, so many on each connection, but not too few in all."""
    requests = max(options.requests * concurrency, options.fewest)
    return Work(concurrency, requests, options.max_tokens, stream=True)


async def words_for(side: Side, tokens: int) -> int:
    """Return how many words make a prompt of about so many tokens, by the model's own tokenizer.

    Raises:
        LoadFailed: it does not answer.
    """
    counts = []
    for words in PROBE_WORDS:
        body = Bodies(words).make(side.model, max_tokens=2, stream=False)
        answers = await load.run(side.urls()[0], [body], requests=1, concurrency=1, headers=side.headers, timeout_s=600)
        load.refuse_errors("the prompt's length", answers)
        counts.append(prompt_tokens(answers[0]))
    return line_through(PROBE_WORDS, (counts[0], counts[1]), tokens)


def line_through(words: tuple[int, int], tokens: tuple[int, int], wanted: int) -> int:
    """Return the words for the wanted tokens, at least one, where two prompts had so many words and tokens."""
    slope = (tokens[1] - tokens[0]) / (words[1] - words[0])
    if slope <= 0:
        return words[0]
    return max(1, round(words[0] + (wanted - tokens[0]) / slope))


def memory_used_mib() -> int | None:
    """Return the memory in use of all GPUs together, MiB; None: nvidia-smi does not say."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
        return sum(int(line) for line in told.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
