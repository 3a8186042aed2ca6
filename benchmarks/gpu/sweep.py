"""One layout: started, and measured at rising concurrency."""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common import load
from benchmarks.common.gateway import RunningGateway, Servers, Start, running_gateway
from benchmarks.common.report import Say
from benchmarks.common.servers import serving
from benchmarks.gpu.engine_metrics import EngineMetrics, scrape
from benchmarks.gpu.layout import Variant
from benchmarks.vllm.bodies import Bodies, prompt_tokens
from benchmarks.vllm.measure import Measurement
from benchmarks.vllm.samples import Round, Workload
from benchmarks.vllm.targets import Target, targets

PROBE_WORDS = (32, 96)


@dataclass(frozen=True, slots=True)
class Layout:
    """What was started, and what was measured."""

    variant: Variant
    models_yaml: str
    commands: tuple[str, ...]
    started_in_s: float
    restarts: int
    engines: tuple[EngineMetrics, ...]
    """after the measurement"""
    gpu_memory_used_mib: int | None
    rounds: tuple[Round, ...]


async def measure(text: str, variant: Variant, options: argparse.Namespace, folder: Path, say: Say) -> Layout:
    """Start the layout of a models.yaml, measure it, and stop it.

    Raises:
        StartFailed: it did not start.
        LoadFailed, WrongTokenCount: an answer was not as it must be.
    """
    config = folder / f"models-{variant.file_name}.yaml"
    config.write_text(text, encoding="utf-8")
    start = Start(
        config,
        folder / f"gateway-{variant.file_name}.log",
        flags=(f"--state-dir={folder / 'state'}", f"--max-in-flight={max(256, *options.concurrency)}"),
        environment={"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {},
        limit_s=options.start_limit,
    )
    async with running_gateway(start, say) as started:
        model, roots = await serving(started.engines, None)
        direct, gateway = targets(Servers(started.root, roots, model, started))
        words = await words_for(direct, options.prompt_tokens)
        workloads = [workload(concurrency, options) for concurrency in options.concurrency]
        rounds = await Measurement(direct, gateway, Bodies(words), say).rounds(workloads, options.rounds)
        return await _layout(text, variant, started, rounds, on_gpu=options.device == "gpu")


async def _layout(
    text: str, variant: Variant, started: RunningGateway, rounds: Sequence[Round], *, on_gpu: bool
) -> Layout:
    engines = [await scrape(root) for root in started.engines]
    return Layout(
        variant=variant,
        models_yaml=text,
        commands=started.commands,
        started_in_s=started.started_in_s,
        restarts=started.restarts,
        engines=tuple(engines),
        gpu_memory_used_mib=memory_used_mib() if on_gpu else None,
        rounds=tuple(rounds),
    )


def workload(concurrency: int, options: argparse.Namespace) -> Workload:
    """Return the load of one sample: streams, a number of them on each connection, but a least number in all."""
    requests = max(options.requests * concurrency, options.fewest)
    return Workload(concurrency, requests, options.max_tokens, stream=True)


async def words_for(target: Target, tokens: int) -> int:
    """Return how many words make a prompt of about this many tokens with the model's tokenizer.

    Raises:
        LoadFailed: the model does not answer.
    """
    counts = []
    for words in PROBE_WORDS:
        body = Bodies(words).make(target.model, max_tokens=2, stream=False)
        answers = await load.run(target.endpoints()[0], [body], requests=1, concurrency=1, timeout_s=600)
        load.refuse_errors("the prompt's length", answers)
        counts.append(prompt_tokens(answers[0]))
    return line_through(PROBE_WORDS, (counts[0], counts[1]), tokens)


def line_through(words: tuple[int, int], tokens: tuple[int, int], wanted: int) -> int:
    """Return the words for the wanted tokens, at least one, by linear interpolation between two known prompts."""
    slope = (tokens[1] - tokens[0]) / (words[1] - words[0])
    if slope <= 0:
        return words[0]
    return max(1, round(words[0] + (wanted - tokens[0]) / slope))


def memory_used_mib() -> int | None:
    """Return the memory in use on all GPUs together in MiB; None: unknown."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        output = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
        return sum(int(line) for line in output.split())
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
