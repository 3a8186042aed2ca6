"""What does each stage of a request cost? `python -m benchmarks.overhead.stages`; see benchmarks/README.md.

Microseconds of this process's CPU, without sockets: every stage by itself, then the whole request between a client and
an upstream that are objects. The difference between the whole request and the sum of its stages is called glue.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from benchmarks.common import machine
from benchmarks.common.command import say_on_stderr
from benchmarks.common.load import LoadFailed
from benchmarks.common.options import whole
from benchmarks.common.report import table, write_json
from benchmarks.overhead.inprocess import InProcessGateway, SocketlessLoop
from benchmarks.overhead.measure import KEY
from benchmarks.overhead.request_path import Kind, Run, Stage, request_path
from benchmarks.overhead.scenarios import SCENARIOS
from server.observability import logs
from server.processes.gateway import tune_garbage_collector

CASES = {
    "0.1 KB": "whole-c1",
    "8 KB": "whole-c8-8k",
    "100 KB": "whole-c8-100k",
    "64 events": "stream64-c1",
    "schema": "json-c1",
}
"""column -> scenario, of which one request is sent at a time"""
PACKAGES = ("uvicorn", "uvloop", "httptools", "pydantic", "msgspec", "jsonschema-rs")
ROUNDS = 15
SAMPLES = 10
"""of a stage in a round; their median is its time in that round"""
WARM_UP = 100
_SHOWN = {"stage": "{}", "part": "&nbsp;&nbsp;{}", "sum": "**{}**", "whole": "**{}**"}

Rounds = Mapping[str, Sequence[float]]
"""stage -> microseconds in each round"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: the least and the median of the microseconds of all rounds."""

    name: str
    kind: Kind | Literal["sum"]
    least: float
    median: float


def rows(stages: Sequence[Stage], rounds: Rounds) -> list[Row]:
    """Return each stage without what runs along with it, then their sum, the glue, and the whole request."""
    found = []
    for stage in stages:
        if stage.kind != "harness":
            least, middle = (
                of(rounds[stage.name]) - sum(of(rounds[name]) for name in stage.less) for of in (min, median)
            )
            found.append(Row(stage.name, stage.kind, least, middle))
    *shown, whole = found
    counted = [row for row in shown if row.kind == "stage"]
    least, middle = sum(row.least for row in counted), sum(row.median for row in counted)
    glue = Row("glue", "sum", whole.least - least, whole.median - middle)
    return [*shown, Row("all stages", "sum", least, middle), glue, whole]


async def measure(stages: Sequence[Stage], count: int) -> dict[str, list[float]]:
    """Run every stage in each round, each time after a whole request.

    Without that request, its code and data would stay in the CPU's caches, and it would take half of its real time.
    """
    flow = stages[-1].run
    await flow(WARM_UP)
    taken: dict[str, list[float]] = {stage.name: [] for stage in stages}
    for _ in range(count):
        clock_s = await _cpu_s(_nothing, 1, flow)
        for stage in stages:
            used_s = await _cpu_s(stage.run, stage.times, flow) - clock_s
            taken[stage.name].append(used_s / stage.times * 1e6)
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
    """The figures of one case."""

    scenario: str
    request_bytes: int
    writes: int
    """in which the client received the answer"""
    rows: Sequence[Row]


async def measure_cases(cases: Mapping[str, str], count: int, folder: Path) -> dict[str, Column]:
    """Measure every case.

    Raises:
        LoadFailed: a request did not get the scripted answer.
    """
    columns = {}
    for name, scenario in cases.items():
        gateway = InProcessGateway(SCENARIOS[scenario], folder)
        writes = await gateway.check()
        stages = await request_path(gateway)
        tune_garbage_collector()
        columns[name] = Column(scenario, len(gateway.body), writes, rows(stages, await measure(stages, count)))
        await gateway.close()
    return columns


def as_markdown(columns: Mapping[str, Column], about: Mapping[str, Any]) -> str:
    """Return the table."""
    lines = ["# What each stage of a request costs", "", machine.machine_line(about), ""]
    lines += [f"CPU microseconds without sockets: the least of {about['rounds']} rounds (median).", ""]
    cells = [{row.name: f"{row.least:.1f} ({row.median:.1f})" for row in of.rows} for of in columns.values()]
    longest = max((column.rows for column in columns.values()), key=len)  # some stages are only in some cases
    rows = [(_SHOWN[row.kind].format(row.name), *(one.get(row.name, "") for one in cells)) for row in longest]
    return "\n".join([*lines, *table(("stage", *columns), rows), ""])


def as_json(columns: Mapping[str, Column], about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole report."""
    return {**about, "cases": {name: asdict(column) for name, column in columns.items()}}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead.stages", description="What each stage of a request costs."
    )
    parser.add_argument("--rounds", type=whole(1), default=ROUNDS, metavar="N", help=f"default: {ROUNDS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args(argv)
    about = machine.describe(PACKAGES) | {"rounds": arguments.rounds}
    with (
        tempfile.TemporaryDirectory(prefix="stages-") as folder,
        Path(os.devnull).open("w") as nowhere,
        asyncio.Runner(loop_factory=SocketlessLoop) as runner,
    ):
        logs.configure([KEY], nowhere)
        try:
            columns = runner.run(measure_cases(CASES, arguments.rounds, Path(folder)))
        except LoadFailed as error:
            say_on_stderr(f"no figures: {error}")
            return 1
    print(as_markdown(columns, about))
    if arguments.json:
        write_json(as_json(columns, about), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
