"""The report as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.common.plot import BLUE, GREEN, GREY, ORANGE, RED, new_figure

PHASES = {"loading": ORANGE, "loaded": GREEN, "draining": RED}
HEIGHT = 0.35


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw a lane for each model: what it did, and the requests for it from their start to their end.

    Raises:
        NoMatplotlib: it is not installed.
    """
    samples = report["samples"]
    names = sorted(samples[0]["phases"])
    figure = new_figure(12, 1.2 + 1.3 * len(names))
    axes = figure.subplots()
    for lane, name in enumerate(names):
        for phase, begin, end in spans([(one["at"], one["phases"][name]) for one in samples]):
            if phase in PHASES:
                axes.barh(lane + HEIGHT, end - begin, 0.2, begin, color=PHASES[phase])
        rows = [row for row in report["requests"] if row["model"] == name]
        for place, row in enumerate(rows):
            level = lane - HEIGHT + 0.55 * place / max(1, len(rows) - 1)
            axes.plot(
                [row["started"], row["ended"]], [level, level], color=RED if row["error"] else BLUE, linewidth=0.8
            )
    for phase, colour in PHASES.items():
        axes.barh(0, 0, color=colour, label=phase)
    axes.plot([], [], color=BLUE, label="request")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.2)
    axes.set_xlabel("seconds")
    axes.grid(axis="x", color=GREY, alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12 + 0.1 / len(names)), ncols=4, frameon=False)
    figure.savefig(file, dpi=130)


def spans(samples: Sequence[tuple[float, str]]) -> Iterator[tuple[str, float, float]]:
    """Yield each phase of a model with its begin and end. A phase lasts until the next sample that has another one."""
    begins = [(phase, next(of_phase)[0]) for phase, of_phase in groupby(samples, key=lambda sample: sample[1])]
    ends = [begin for _, begin in begins[1:]] + [samples[-1][0]]
    for (phase, begin), end in zip(begins, ends, strict=True):
        yield phase, begin, end
