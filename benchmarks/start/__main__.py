"""`python -m benchmarks.start`: the same gateway with cold and with warm starts of vLLM, in turns."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say
from benchmarks.common.gateway import warn_of_other_engines
from benchmarks.common.machine import ROOT
from benchmarks.common.options import add_out, whole
from benchmarks.common.processes import scratch_folder
from benchmarks.common.report import Renderer, write
from benchmarks.start import plot, report
from benchmarks.start.measure import KINDS, measure_start

RENDERER = Renderer(report.markdown, plot.draw)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its report; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.start",
        description="Seconds from `smallfirst serve` to the first answer of its first model, and from a crash of its "
        "vLLM to the next answer. Cold starts (SMALLFIRST_WARM_START=false) and warm starts take turns.",
    )
    parser.add_argument("--config", type=Path, default=ROOT / "models.yaml", metavar="FILE",
                        help="models.yaml of the gateway (default: the project's)")  # fmt: skip
    parser.add_argument("--rounds", type=whole(1), default=3, help="starts of each kind (default: %(default)s)")
    add_out(parser, "benchmarks/results/start")
    return run_or_redraw(parser.parse_args(argv), measure, RENDERER)


async def measure(options: argparse.Namespace) -> None:
    """Measure and write the report. One start comes first that does not count: it fetches and fills caches."""
    about = machine.describe_for_vllm()
    warn_of_other_engines(say)
    starts = []
    with scratch_folder(say) as folder:
        say("a first start, which does not count")
        await measure_start(options.config, "warm", folder / "first.log")
        for number in range(options.rounds):
            for kind in KINDS if number % 2 == 0 else reversed(KINDS):
                start = await measure_start(options.config, kind, folder / f"{kind}-{number}.log")
                say(
                    f"round {number + 1}/{options.rounds}, {kind}: first answer after {start.first_answer_s:.1f} s"
                    f" ({start.cpu_s:.0f} s of CPU), after a crash {start.after_crash_s:.1f} s"
                )
                starts.append(start)
    write(report.build(about, starts), options.out, RENDERER, say)


if __name__ == "__main__":
    sys.exit(main())
