"""`python -m benchmarks.routing.live.hold`: streams of a real cascade, held in each way at the same load."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import product
from typing import Any

from benchmarks.routing.live.hold import judged, plot, report
from benchmarks.routing.live.hold.figures import Replies, of_each, of_early, of_way
from benchmarks.routing.live.hold.options import parse
from benchmarks.routing.live.hold.texts import TextTask, text_tasks
from benchmarks.routing.live.stages import ANSWERS, CASCADE, Models, Stages
from benchmarks.structured.ask import Kept
from benchmarks.structured.standin import NoStandin
from benchmarks.vllm import machine
from benchmarks.vllm.launch import workplace
from benchmarks.vllm.program import run, say
from benchmarks.vllm.write import redraw, write

FIRST, WHOLE = "first", "whole"
Way = tuple[str, float | None]
"""`hold` and `min_confidence`; None: the route's"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run and write the report; return the exit status: 1 where it could not be measured, 2 where something lacks."""
    options = parse(argv)
    if options.redraw:
        redraw(options.out, say, draw=plot.draw, markdown=report.markdown)
        return 0
    try:
        return run(measure(options))
    except NoStandin as error:
        print(error, file=sys.stderr)
        return 2


async def measure(options: argparse.Namespace) -> None:
    """Ask each model alone, learn from some of that, stream the others in every way, and write what came of it."""
    every = text_tasks(options.learn, options.held_out)
    held_out = [task for task in every if task.held_out]
    models = Models.of(options.config, options.fallback_gguf, say)
    about = machine.describe()
    with workplace(say) as folder:
        stages = Stages(models, Kept(options.out / ANSWERS), folder, say)
        answers = await stages.alone(every)
        calibration = await stages.learn(every, answers, [f"--beginning={options.beginning}"])
        streams = await _streams(options, stages, held_out)
    early = judged.let_go_early(options.out, [one.id for of in streams.values() for one in of.values() if one.id])
    found = {
        "benchmark": "routing.live.hold",
        **about,
        "small": models.small,
        "large": models.large,
        "prices": {name: entry.get("price") for name, entry in models.config["models"].items()},
        "concurrency": options.concurrency,
        "learned": len(every) - len(held_out),
        "beginning": options.beginning,
        "alone": {name: of_way(held_out, replies, answers) for name, replies in answers.items()},
        "ways": [
            {"hold": hold, "min_confidence": least}
            | of_way(held_out, replies, answers)
            | {"streams": of_each(held_out, replies, early)}
            for (hold, least), replies in streams.items()
        ],
        "early": [
            {"min_confidence": least} | of_early(held_out, replies, streams[WHOLE, least], models.large, early)
            for (hold, least), replies in streams.items()
            if hold == FIRST
        ],
        "calibration": calibration,
    }
    write(found, options.out, say, draw=plot.draw, markdown=report.markdown)


async def _streams(options: argparse.Namespace, stages: Stages, tasks: Sequence[TextTask]) -> dict[Way, Replies]:
    """Stream every task: not held, and held in both ways at each threshold."""
    # who demands a confidence may not let its streams go without one
    wishes: dict[Way, dict[str, Any]] = {("none", None): {"hold": "none"}}
    wishes |= {
        (hold, least): {"hold": hold, "min_confidence": least}
        for least, hold in product(options.min_confidence, (FIRST, WHOLE))
    }
    asked_how = f"beginning {options.beginning}, {options.concurrency} at a time"
    names = {
        (hold, least): f"hold {hold}{'' if least is None else f' at {least}'}, {asked_how}" for hold, least in wishes
    }
    ways = {names[way]: {"stream": True, "routing": wish} for way, wish in wishes.items()}
    try:
        found = await stages.cascade(ways, tasks, concurrency=options.concurrency, together=True)
    finally:
        judged.keep((stages.folder / CASCADE).with_suffix(".log"), options.out)
    return {way: found[name] for way, name in names.items()}


if __name__ == "__main__":
    sys.exit(main())
