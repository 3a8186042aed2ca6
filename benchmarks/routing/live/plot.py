"""The report as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.plot import BLUE, ORANGE, new_figure

MARKERS = "osv^D"


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw the share of right answers over the cost: of each model alone, and of the cascade.

    Raises:
        NoMatplotlib: it is not installed.
    """
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for (name, one), marker in zip(report["ways"].items(), MARKERS, strict=True):
        usd, right = one["usd_per_1000_apart"], one["right"]
        if usd is None:
            continue
        colour = BLUE if name.startswith("cascade") else ORANGE
        axes.plot(usd, right["value"], marker, color=colour, label=name, linestyle="none")
        if right["low"] is not None:
            axes.vlines(usd, right["low"], right["high"], color=colour, alpha=0.3)
    axes.legend(loc="lower right")
    axes.set_ylim(0, 1)
    axes.set_xlim(left=0)
    axes.set_xlabel("dollars of 1,000 calls, each model on its own machine")
    axes.set_ylabel("share of right answers (95% interval)")
    figure.savefig(file, dpi=150)
