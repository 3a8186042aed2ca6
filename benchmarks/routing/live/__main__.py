"""`python -m benchmarks.routing.live`: the cascade with real models, compared with each of them alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say
from benchmarks.common.report import Renderer, write
from benchmarks.routing.live import plot, report
from benchmarks.routing.live.figures import figures
from benchmarks.routing.live.options import parse
from benchmarks.routing.live.stages import CONCURRENCY, MIN_CONFIDENCES, stages
from benchmarks.routing.live.tasks import tasks
from benchmarks.structured.data import NoData
from benchmarks.structured.standin import NoStandin

RENDERER = Renderer(report.markdown, plot.draw)


def main(argv: Sequence[str] | None = None) -> int:
    """Run and write the report; return the exit status: 1 if it could not be measured, 2 if input is missing."""
    return run_or_redraw(parse(argv), measure, RENDERER, cannot_run=(NoData, NoStandin))


async def measure(options: argparse.Namespace) -> None:
    """Ask each model alone, calibrate on one part of the tasks, ask the cascade the others, and write the report."""
    every = tasks(options.data, options.tasks)
    held_out = [task for task in every if task.held_out]
    about = machine.describe_for_vllm()
    with stages(options, say) as run:
        alone = await run.alone(every)
        calibration = await run.learn(every, alone)
        variants = {f"cascade, {least:g}": {"routing": {"min_confidence": least}} for least in MIN_CONFIDENCES}
        cascade = await run.cascade(variants, held_out)
    by_variant = {f"always {name}": replies for name, replies in alone.items()} | cascade
    whole = {
        "benchmark": "routing.live",
        **about,
        **run.models.described(),
        "concurrency": CONCURRENCY,
        "learned": len(every) - len(held_out),
        "ways": {name: figures(held_out, replies, alone) for name, replies in by_variant.items()},
        "calibration": calibration,
    }
    write(whole, options.out, RENDERER, say)


if __name__ == "__main__":
    sys.exit(main())
