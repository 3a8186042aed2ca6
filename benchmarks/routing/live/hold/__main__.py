"""`python -m benchmarks.routing.live.hold`: streams of a real cascade, with each value of `hold` at the same load."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from typing import Any

from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say
from benchmarks.common.report import Renderer, write
from benchmarks.routing.live.hold import early_release, plot, report
from benchmarks.routing.live.hold.figures import Replies, early_figures, hold_figures, stream_rows
from benchmarks.routing.live.hold.options import parse
from benchmarks.routing.live.hold.texts import TextTask, text_tasks
from benchmarks.routing.live.stages import CASCADE, Stages, stages
from benchmarks.structured.standin import NoStandin

FIRST, WHOLE = "first", "whole"
RENDERER = Renderer(report.markdown, plot.draw)
Variant = tuple[str, float | None]
"""`hold` and `min_confidence`; None: the route's"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run and write the report; return the exit status: 1 if it could not be measured, 2 if input is missing."""
    return run_or_redraw(parse(argv), measure, RENDERER, cannot_run=(NoStandin,))


async def measure(options: argparse.Namespace) -> None:
    """Ask each model alone, calibrate on one part, stream the others in every variant, and write the report."""
    every = text_tasks(options.learn, options.held_out)
    held_out = [task for task in every if task.held_out]
    about = machine.describe_for_vllm()
    with stages(options, say) as run:
        alone = await run.alone(every)
        calibration = await run.learn(every, alone, [f"--beginning={options.beginning}"])
        streams = await _streams(options, run, held_out)
    requests = [reply.id for replies in streams.values() for reply in replies.values() if reply.id]
    early = early_release.released_early(options.out, requests)
    found = {
        "benchmark": "routing.live.hold",
        **about,
        **run.models.described(),
        "concurrency": options.concurrency,
        "learned": len(every) - len(held_out),
        "beginning": options.beginning,
        "alone": {name: hold_figures(held_out, replies, alone) for name, replies in alone.items()},
        "ways": [
            {"hold": hold, "min_confidence": least}
            | hold_figures(held_out, replies, alone)
            | {"streams": stream_rows(held_out, replies, early)}
            for (hold, least), replies in streams.items()
        ],
        "early": [
            {"min_confidence": least} | early_figures(held_out, replies, streams[WHOLE, least], run.models.large, early)
            for (hold, least), replies in streams.items()
            if hold == FIRST
        ],
        "calibration": calibration,
    }
    write(found, options.out, RENDERER, say)


async def _streams(options: argparse.Namespace, run: Stages, tasks: Sequence[TextTask]) -> dict[Variant, Replies]:
    """Stream every task: not held, and held in both ways at each threshold."""
    # a request with `min_confidence` may not have `hold: none`, so that variant has none
    routing: dict[Variant, dict[str, Any]] = {("none", None): {"hold": "none"}}
    routing |= {
        (hold, least): {"hold": hold, "min_confidence": least}
        for least, hold in product(options.min_confidence, (FIRST, WHOLE))
    }
    setting = f"beginning {options.beginning}, {options.concurrency} at a time"
    names = {
        (hold, least): f"hold {hold}{'' if least is None else f' at {least}'}, {setting}" for hold, least in routing
    }
    variants = {names[variant]: {"stream": True, "routing": of} for variant, of in routing.items()}
    try:
        found = await run.cascade(variants, tasks, concurrency=options.concurrency, together=True)
    finally:
        early_release.keep((run.folder / CASCADE).with_suffix(".log"), options.out)
    return {variant: found[name] for variant, name in names.items()}


if __name__ == "__main__":
    sys.exit(main())
