"""`python -m benchmarks.routing.live`: the cascade with real models, against each of them alone."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.routing.live import plot, report
from benchmarks.routing.live.figures import figures
from benchmarks.routing.live.options import parse
from benchmarks.routing.live.stages import ANSWERS, CONCURRENCY, MIN_CONFIDENCES, Models, Stages
from benchmarks.routing.live.tasks import tasks
from benchmarks.structured.ask import Kept
from benchmarks.structured.data import NoData
from benchmarks.structured.standin import NoStandin
from benchmarks.vllm import machine
from benchmarks.vllm.launch import workplace
from benchmarks.vllm.program import run, say
from benchmarks.vllm.write import redraw, write


def main(argv: Sequence[str] | None = None) -> int:
    """Run and write the report; return the exit status: 1 where it could not be measured, 2 where something lacks."""
    options = parse(argv)
    if options.redraw:
        redraw(options.out, say, draw=plot.draw, markdown=report.markdown)
        return 0
    try:
        return run(measure(options))
    except (NoData, NoStandin) as error:
        print(error, file=sys.stderr)
        return 2


async def measure(options: argparse.Namespace) -> None:
    """Ask each model alone, learn from half of that, ask the cascade the other half, and write what came of it."""
    every = tasks(options.data, options.tasks)
    held_out = [task for task in every if task.held_out]
    models = Models.of(options.config, options.fallback_gguf, say)
    about = machine.describe()
    with workplace(say) as folder:
        stages = Stages(models, Kept(options.out / ANSWERS), folder, say)
        answers = await stages.alone(every)
        calibration = await stages.learn(every, answers)
        wishes = {f"cascade, {least:g}": {"routing": {"min_confidence": least}} for least in MIN_CONFIDENCES}
        by_wish = await stages.cascade(wishes, held_out)
    ways = {f"always {name}": of for name, of in answers.items()} | by_wish
    whole = {
        "benchmark": "routing.live",
        **about,
        "small": models.small,
        "large": models.large,
        "prices": {name: entry.get("price") for name, entry in models.config["models"].items()},
        "concurrency": CONCURRENCY,
        "learned": len(every) - len(held_out),
        "ways": {name: figures(held_out, replies, answers) for name, replies in ways.items()},
        "calibration": calibration,
    }
    write(whole, options.out, say, draw=plot.draw, markdown=report.markdown)


if __name__ == "__main__":
    sys.exit(main())
