"""What does each stop of a request's way cost? `python -m benchmarks.overhead.stops`; see benchmarks/README.md.

Microseconds of this process's CPU, without sockets: every stop by itself, then the whole way between a client and an
upstream that are objects. What the stops do not account for is the glue between them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from benchmarks import machine
from benchmarks.load import LoadFailed
from benchmarks.overhead.inprocess import Loop, World
from benchmarks.overhead.measure import KEY
from benchmarks.overhead.scenarios import SCENARIOS
from benchmarks.overhead.way import Kind, Run, Stop, way
from server.observability import logs
from server.processes.gateway import tune_garbage_collector

CASES = {
    "0.1 KB": "whole-c1",
    "8 KB": "whole-c8-8k",
    "100 KB": "whole-c8-100k",
    "64 events": "stream64-c1",
    "schema": "json-c1",
}
"""column -> scenario, of which one request is asked at a time"""
PACKAGES = ("uvicorn", "uvloop", "httptools", "pydantic", "msgspec", "jsonschema-rs")
ROUNDS = 15
SAMPLES = 10
"""of a stop in a round, whose median counts"""
WARM_UP = 100
_SHOWN = {"stop": "{}", "part": "&nbsp;&nbsp;{}", "sum": "**{}**", "whole": "**{}**"}

Rounds = Mapping[str, Sequence[float]]
"""of each stop: microseconds in each round"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: microseconds in the least of all rounds, and in the median."""

    name: str
    kind: Kind | Literal["sum"]
    least: float
    median: float


def rows(stops: Sequence[Stop], rounds: Rounds) -> list[Row]:
    """Return each stop without what runs along with it, then their sum, the whole way, and what is between the two."""
    found = []
    for stop in stops:
        if stop.kind != "aid":
            least, middle = (
                of(rounds[stop.name]) - sum(of(rounds[name]) for name in stop.less) for of in (min, median)
            )
            found.append(Row(stop.name, stop.kind, least, middle))
    *shown, whole = found
    counted = [row for row in shown if row.kind == "stop"]
    least, middle = sum(row.least for row in counted), sum(row.median for row in counted)
    glue = Row("glue", "sum", whole.least - least, whole.median - middle)
    return [*shown, Row("all stops", "sum", least, middle), glue, whole]


async def measure(stops: Sequence[Stop], count: int) -> dict[str, list[float]]:
    """Run every stop in each round, each time after a whole request.

    Repeated alone, its code and data would stay in the CPU's caches, and it take half of what it does in a request.
    """
    flow = stops[-1].run
    await flow(WARM_UP)
    taken: dict[str, list[float]] = {stop.name: [] for stop in stops}
    for _ in range(count):
        clock_s = await _cpu_s(_nothing, 1, flow)
        for stop in stops:
            used_s = await _cpu_s(stop.run, stop.times, flow) - clock_s
            taken[stop.name].append(used_s / stop.times * 1e6)
    return taken


async def _cpu_s(run: Run, times: int, flow: Run) -> float:
    samples = []
    for _ in range(max(1, SAMPLES // times)):
        await flow(1)
        began = time.process_time()
        await run(times)
        samples.append(time.process_time() - began)
    return median(samples)


async def _nothing(times: int) -> None:
    for _ in range(times):
        pass


@dataclass(frozen=True, slots=True)
class Column:
    """What was measured of one case."""

    scenario: str
    request_bytes: int
    writes: int
    """in which the client got the answer"""
    rows: Sequence[Row]


async def take(cases: Mapping[str, str], count: int, folder: Path) -> dict[str, Column]:
    """Measure every case.

    Raises:
        LoadFailed: the whole way did not lead to the scripted answer.
    """
    columns = {}
    for name, scenario in cases.items():
        world = World(SCENARIOS[scenario], folder)
        writes = await world.check()
        stops = await way(world)
        tune_garbage_collector()
        columns[name] = Column(scenario, len(world.body), writes, rows(stops, await measure(stops, count)))
        await world.close()
    return columns


def as_markdown(columns: Mapping[str, Column], about: Mapping[str, Any]) -> str:
    """Return the table."""
    on = about["machine"]
    lines = ["# What each stop of a request's way costs", ""]
    lines += [f"{about['date']}, {on['cpu']}, {on['cores']} cores, Python {on['python']}, {about['revision']}.", ""]
    lines += [f"us of CPU without sockets: the least of {about['rounds']} rounds (median).", ""]
    lines += [f"| stop | {' | '.join(columns)} |", f"|---|{'--:|' * len(columns)}"]
    cells = {name: {row.name: f"{row.least:.1f} ({row.median:.1f})" for row in column.rows}
             for name, column in columns.items()}  # fmt: skip
    for row in max((column.rows for column in columns.values()), key=len):  # some stops only some cases have
        of_cases = (cells[name].get(row.name, "") for name in columns)
        lines.append(f"| {_SHOWN[row.kind].format(row.name)} | {' | '.join(of_cases)} |")
    return "\n".join([*lines, ""])


def as_json(columns: Mapping[str, Column], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return all of it."""
    return {**about, "cases": {name: asdict(column) for name, column in columns.items()}}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead.stops", description="What each stop costs.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    arguments = parser.parse_args(argv)
    about = machine.describe(PACKAGES) | {"rounds": arguments.rounds}
    with (
        tempfile.TemporaryDirectory(prefix="stops-") as folder,
        Path(os.devnull).open("w") as nowhere,
        asyncio.Runner(loop_factory=Loop) as runner,
    ):
        logs.configure([KEY], nowhere)
        try:
            columns = runner.run(take(CASES, arguments.rounds, Path(folder)))
        except LoadFailed as error:
            print(f"no figures: {error}", file=sys.stderr)
            return 1
    print(as_markdown(columns, about))
    if arguments.json:
        arguments.json.write_text(json.dumps(as_json(columns, about), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
