"""`python -m benchmarks.vllm`: the same vLLM, asked directly and through the gateway, in turns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say
from benchmarks.common.gateway import RunningGateway, Start, servers
from benchmarks.common.options import key_header
from benchmarks.common.processes import scratch_folder
from benchmarks.common.report import Renderer, write
from benchmarks.vllm import plot, report
from benchmarks.vllm.bodies import Bodies
from benchmarks.vllm.measure import Measurement
from benchmarks.vllm.options import parse
from benchmarks.vllm.samples import Workload
from benchmarks.vllm.targets import targets

FIRST_TOKEN_TOKENS = 4
"""tokens of an answer of which only the first is timed"""
PARAMETERS = ("rounds", "requests", "max_tokens", "concurrency", "prompt_words", "pairs", "quick")
RENDERER = Renderer(report.markdown, plot.draw)

SOCKET = (
    "Direct requests go to vLLM over the Unix socket that the gateway also uses. Requests to the gateway go over TCP,"
    " as those of clients do. TCP costs slightly more than a socket, which counts against the gateway."
)
ATTACHED = "Both were already running: {gateway} in front of {direct}."
SAME = (
    "Both targets are the same vLLM process, get the same requests, and take turns. Every answer has a fixed number of"
    " tokens (`ignore_eos`, temperature 0), which was checked. Every prompt begins with digits that were never used"
    " before, so neither target gains from vLLM's prefix cache."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its report; return the exit status."""
    return run_or_redraw(parse(argv), measure, RENDERER)


async def measure(options: argparse.Namespace) -> None:
    """Measure and write the report."""
    about = machine.describe_for_vllm()
    with scratch_folder(say) as folder:
        flags = (f"--max-in-flight={max(256, *options.concurrency)}",)  # its queue is not what is measured
        start = Start(options.config, folder / "gateway.log", flags)
        async with servers(options, start, options.model, say) as running:
            direct, gateway = targets(running, key_header() if options.url else {})
            measurement = Measurement(direct, gateway, Bodies(options.prompt_words), say)
            rounds = await measurement.rounds(workloads(options), options.rounds)
            say("time to the first token")
            pairs = await measurement.pairs(options.pairs, FIRST_TOKEN_TOKENS)
    about |= {"setting": setting(options, running.started), "model": direct.model}
    about |= {"parameters": {name: getattr(options, name) for name in PARAMETERS}}
    write(report.build(about, rounds, pairs), options.out, RENDERER, say)


def workloads(options: argparse.Namespace) -> list[Workload]:
    """Return what is measured: each concurrency, with whole answers and with streams."""
    return [
        Workload(concurrency, options.requests * concurrency, options.max_tokens, stream)
        for concurrency in options.concurrency
        for stream in (False, True)
    ]


def setting(options: argparse.Namespace, started: RunningGateway | None) -> list[str]:
    """Return how the two targets were run, for the report."""
    if started is None:
        return [ATTACHED.format(gateway=options.url, direct=options.direct), SAME]
    return [SOCKET, SAME, *(f"`{command}`" for command in started.commands)]


if __name__ == "__main__":
    sys.exit(main())
