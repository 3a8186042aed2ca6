"""`python -m benchmarks.structured`: does structured output keep its promise, and what does it cost?"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.structured import checker, hostile, model, plot, report, speed, suite, tools
from benchmarks.structured.data import HOW_TO_GET, NoData, schema_tasks, tool_tasks
from benchmarks.structured.options import OF_DATA, OF_MODEL, PARTS, parse
from benchmarks.structured.standin import NoStandin
from benchmarks.vllm import machine
from benchmarks.vllm.launch import workplace
from benchmarks.vllm.program import run, say
from benchmarks.vllm.write import JSON, read, redraw, write

T = TypeVar("T")
PROMISES: Mapping[str, Callable[[dict[str, Any]], Iterator[str]]] = {
    "checker": checker.promises,
    "speed": speed.promises,
    "hostile": hostile.promises,
    "suite": suite.promises,
    "model": model.promises,
    "tools": tools.promises,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts and write their report; return the exit status: 1 where a promise is broken, 2 if it cannot run."""
    options = parse(argv)
    if options.redraw:
        redraw(options.out, say, draw=plot.draw, markdown=report.markdown)
        return 0
    lacking = {part: why for part in PARTS if (why := lacks(part, options))}
    if named := [part for part in options.parts if part in lacking]:
        print(f"{named[0]}: {lacking[named[0]]}", file=sys.stderr)
        return 2
    for part, why in lacking.items() if not options.parts else ():
        say(f"{part} is left out: {why}")
    chosen = options.parts or [part for part in PARTS if part not in lacking]
    found: dict[str, Any] = {}
    try:
        status = run(measure(options, chosen, found))
    except (NoData, suite.NoSuite, NoStandin) as error:
        print(error, file=sys.stderr)
        return 2
    broken = [promise for part, figures in found.items() for promise in PROMISES[part](figures)]
    for promise in broken:
        say(f"not as promised: {promise}")
    return status or int(bool(broken))


def lacks(part: str, options: argparse.Namespace) -> str:
    """Return what a part cannot be run without and is not given; empty where nothing is missing."""
    if part in OF_DATA and options.data is None:
        return f"no --data folder is given.\n{HOW_TO_GET}"
    if part == "suite" and options.suite is None:
        return f"no --suite folder is given. {suite.HOW_TO_GET}"
    if part in OF_MODEL and not options.url and importlib.util.find_spec("vllm") is None:
        return "vLLM is not installed"
    return ""


async def measure(options: argparse.Namespace, parts: Sequence[str], found: dict[str, Any]) -> None:
    """Measure the parts, and write the report after each: should the next not end, this one is not lost."""
    old = read(options.out)["parts"] if (options.out / JSON).exists() else {}
    with workplace(say) as folder:
        for part in parts:
            say(part)
            about = machine.describe()
            found[part] = await _measure(part, options, folder)
            old[part] = about | {"figures": found[part]}
            whole = {"benchmark": "structured", "parts": {name: old[name] for name in PARTS if name in old}}
            write(whole, options.out, say, draw=plot.draw, markdown=report.markdown)


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
    """Return so many tasks at most, from all over the data."""
    count = min(most or len(tasks), len(tasks))
    return [tasks[place * len(tasks) // count] for place in range(count)]


if __name__ == "__main__":
    sys.exit(main())
