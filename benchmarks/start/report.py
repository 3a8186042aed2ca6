"""The report of a run: JSON with every start, and Markdown for people."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.common.machine import machine_line
from benchmarks.common.report import table
from benchmarks.start.measure import KINDS, Start

FIGURES = {
    "first_answer_s": "command to first answer, s",
    "cpu_s": "CPU until then, s",
    "memory_gb": "memory then, GB",
    "after_crash_s": "crash to next answer, s",
}
START_GOAL = 0.5
CRASH_GOAL_S = 25.0


def build(about: dict[str, Any], starts: Sequence[Start]) -> dict[str, Any]:
    """Return the whole report; `about` says where and with what it was measured."""
    medians = {
        kind: {
            name: statistics.median(getattr(start, name) for start in starts if start.kind == kind) for name in FIGURES
        }
        for kind in KINDS
    }
    return {"benchmark": "start", **about, "medians": medians, "starts": [asdict(start) for start in starts]}


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report for people; `picture`: there is a report.png."""
    cold, warm = (report["medians"][kind] for kind in KINDS)
    rows = [
        [label, f"{cold[name]:.1f}", f"{warm[name]:.1f}", f"{warm[name] / cold[name]:.2f}"]
        for name, label in FIGURES.items()
    ]
    ratio = warm["first_answer_s"] / cold["first_answer_s"]
    lines = ["# How long a managed vLLM takes to start", "", machine_line(report), ""]
    rounds = len(report["starts"]) // len(KINDS)
    lines += [
        f"Medians of {rounds} starts of each kind, in turns, after one that does not count.",
        "Cold: each of vLLM's processes imports it. Warm: they are forked from one that has imported it.",
        "",
        *table(["", "cold", "warm", "warm / cold"], rows),
        "",
        f"- Goal: a second start in at most {START_GOAL:g} of the time: {_met(ratio <= START_GOAL)} ({ratio:.2f}).",
        f"- Goal: a crashed replica is back in {CRASH_GOAL_S:g} s:"
        f" {_met(warm['after_crash_s'] <= CRASH_GOAL_S)} ({warm['after_crash_s']:.1f} s).",
        "",
    ]
    if picture:
        lines += ["![the starts as a picture](report.png)", ""]
    return "\n".join([*lines, "Every start is in report.json.", ""])


def _met(met: bool) -> str:
    return "met" if met else "missed"
