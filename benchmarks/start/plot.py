"""The report as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.plot import BLUE, GREY, new_figure
from benchmarks.start.measure import KINDS
from benchmarks.start.report import FIGURES

COLOURS = dict(zip(KINDS, (GREY, BLUE), strict=True))


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw each figure: the median as a bar, every start as a dot.

    Raises:
        NoMatplotlib: it is not installed.
    """
    figure = new_figure(12, 3.5)
    for axes, (name, label) in zip(figure.subplots(1, len(FIGURES)), FIGURES.items(), strict=True):
        for place, kind in enumerate(KINDS):
            axes.bar(place, report["medians"][kind][name], color=COLOURS[kind], alpha=0.6)
            values = [start[name] for start in report["starts"] if start["kind"] == kind]
            axes.plot([place] * len(values), values, "o", color="black", markersize=3)
        axes.set_xticks(range(len(KINDS)), KINDS)
        axes.set_title(label, fontsize="medium")
    machine = report["machine"]
    figure.suptitle(f"{machine['cpu']}, {machine['cores']} cores, {report['date'][:10]}")
    figure.savefig(file, dpi=130)
