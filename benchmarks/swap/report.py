"""The report for people, and whether the run was as it must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.command import say_broken
from benchmarks.common.machine import machine_line
from benchmarks.common.report import read, table
from benchmarks.common.stats import percentile


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: there is a report.png."""
    options, found = report["options"], report["figures"]
    lines = ["# Models that take turns in memory", "", machine_line(report), ""]
    lines += [
        f"{options['requests']} requests for {options['models']} models in random order, {options['concurrency']} at a"
        f" time; every second one is a stream. At most {options['keep']} models are loaded. `turn_s` is"
        f" {options['turn_s']:g}; the gateway has {options['workers']} process(es). Engines: {report['engine']}.",
        "",
    ]
    rows = [
        ["requests answered", f"{found['answered']} of {options['requests']}"],
        ["requests lost or refused", str(options["requests"] - found["answered"])],
        ["answers of another model", str(found["by_the_wrong_model"])],
        ["in flight, on replicas, waiting at the end", " / ".join(f"{n:g}" for n in _left(found))],
        ["models loaded at the same time, at most", str(found["most_loaded"])],
        ["loads; swaps (unloaded for another model)", f"{found['loads']:g}; {found['swaps']:g}"],
        ["restarts after failures", f"{found['restarts']:g}"],
        ["requests that waited for their model; mean wait", f"{found['waited']:g}; {_mean_wait(found):.1f} s"],
        ["time of a request: median, p95, longest", " / ".join(_times(report))],
        ["the whole run", f"{found['seconds']:.0f} s"],
    ]
    lines += [*table(["", "figure"], rows), ""]
    if picture:
        lines += ["![what was loaded when, and every request](report.png)", ""]
    return "\n".join([*lines, "Every request and sample is in report.json.", ""])


def check(folder: Path) -> int:
    """Print what is not as it must be; return the exit status."""
    return say_broken(faults(read(folder)))


def faults(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not as it must be."""
    options, found = report["options"], report["figures"]
    if lost := options["requests"] - found["answered"]:
        yield f"{lost} requests were not answered: {'; '.join(found['errors'])}"
    if found["by_the_wrong_model"]:
        yield f"{found['by_the_wrong_model']} answers came from another model"
    if any(_left(found)):
        yield f"still in flight, on replicas, waiting: {_left(found)}"
    if found["most_loaded"] > options["keep"]:
        yield f"{found['most_loaded']} models were loaded at the same time"


def _left(found: Mapping[str, Any]) -> tuple[float, ...]:
    return found["in_flight"], found["on_replicas"], found["waiting"]


def _mean_wait(found: Mapping[str, Any]) -> float:
    return float(found["waited_s"] / found["waited"]) if found["waited"] else 0.0


def _times(report: Mapping[str, Any]) -> Iterator[str]:
    times = [row["ended"] - row["started"] for row in report["requests"]]
    for share in (0.5, 0.95, 1.0):
        yield f"{percentile(times, share):.1f} s"
