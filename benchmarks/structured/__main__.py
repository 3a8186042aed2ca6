"""`python -m benchmarks.structured`: does structured output keep its promises, and what does it cost?"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say, say_broken
from benchmarks.common.processes import scratch_folder
from benchmarks.common.report import JSON, Renderer, read, write
from benchmarks.structured import checker, hostile, model, plot, report, speed, suite, tools
from benchmarks.structured.data import HOW_TO_GET, NoData, schema_tasks, tool_tasks
from benchmarks.structured.options import NEEDS_DATA, NEEDS_MODEL, PARTS, parse
from benchmarks.structured.standin import NoStandin

T = TypeVar("T")
RENDERER = Renderer(report.markdown, plot.draw)
BROKEN_PROMISES: Mapping[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "checker": checker.broken_promises,
    "speed": speed.broken_promises,
    "hostile": hostile.broken_promises,
    "suite": suite.broken_promises,
    "model": model.broken_promises,
    "tools": tools.broken_promises,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts and write their report; return the exit status: 1 if a promise is broken, 2 if it cannot run."""
    options = parse(argv)
    found: dict[str, Any] = {}
    chosen: Sequence[str] = ()
    if not options.redraw:
        missing = {part: why for part in PARTS if (why := missing_input(part, options))}
        if named := [part for part in options.parts if part in missing]:
            print(f"{named[0]}: {missing[named[0]]}", file=sys.stderr)
            return 2
        for part, why in missing.items() if not options.parts else ():
            say(f"{part} is left out: {why}")
        chosen = options.parts or [part for part in PARTS if part not in missing]

    async def measure_chosen(options: argparse.Namespace) -> None:
        await measure(options, chosen, found)

    status = run_or_redraw(options, measure_chosen, RENDERER, cannot_run=(NoData, suite.NoSuite, NoStandin))
    broken = say_broken(promise for part, figures in found.items() for promise in BROKEN_PROMISES[part](figures))
    return status or broken


def missing_input(part: str, options: argparse.Namespace) -> str:
    """Return which input of a part is missing; empty if none is."""
    if part in NEEDS_DATA and options.data is None:
        return f"no --data folder is given.\n{HOW_TO_GET}"
    if part == "suite" and options.suite is None:
        return f"no --suite folder is given. {suite.HOW_TO_GET}"
    if part in NEEDS_MODEL and not options.url and importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed"
    return ""


async def measure(options: argparse.Namespace, parts: Sequence[str], found: dict[str, Any]) -> None:
    """Measure the parts, and write the report after each, so that it is kept if the next one fails."""
    old = read(options.out)["parts"] if (options.out / JSON).exists() else {}
    with scratch_folder(say) as folder:
        for part in parts:
            say(part)
            about = machine.describe_for_vllm()
            found[part] = await _measure(part, options, folder)
            old[part] = about | {"figures": found[part]}
            whole = {"benchmark": "structured", "parts": {name: old[name] for name in PARTS if name in old}}
            write(whole, options.out, RENDERER, say)


async def _measure(part: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    match part:
        case "hostile":
            return await hostile.measure(options.cases, folder, say)
        case "suite":
            return await suite.measure(options.suite, say)
        case "tools":
            return await tools.measure(options, some(tool_tasks(options.data), options.limit), folder, say)
    schemas = some(schema_tasks(options.data), options.limit)
    match part:
        case "checker":
            return await checker.measure(schemas, say)
        case "speed":
            return await speed.measure(schemas, say)
    return await model.measure(options, schemas, folder, say)


def some(tasks: Sequence[T], most: int | None) -> list[T]:
    """Return at most this number of tasks, taken at equal distances."""
    count = min(most or len(tasks), len(tasks))
    return [tasks[place * len(tasks) // count] for place in range(count)]


if __name__ == "__main__":
    sys.exit(main())
