"""The quality-cost curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import Any

from benchmarks.common.plot import BLUE, GREEN, GREY, ORANGE, new_figure

COLUMNS = 3
PALE = "#cccccc"
STYLES = {
    "random": (PALE, "-"),
    "oracle": (GREY, ":"),
    "length": (GREY, "--"),
    "classifier": (ORANGE, "-"),
    "raw_cascade": (GREEN, "-"),
    "cascade": (BLUE, "-"),
}


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw the curves of each shown run: over dollars if there are prices, else over the share of strong calls.

    Raises:
        NoMatplotlib: it is not installed.
    """
    runs = [run for run in report["runs"] if run["shown"]]
    lines = ceil(len(runs) / COLUMNS)
    figure = new_figure(5 * min(COLUMNS, len(runs)), 4 * lines)
    grid = list(figure.subplots(lines, min(COLUMNS, len(runs)), squeeze=False).flat)
    for axes in grid:
        axes.set_axis_off()
    for axes, run in zip(grid, runs, strict=False):
        axes.set_axis_on()
        _curves(axes, run)
    figure.savefig(file, dpi=110)


def _curves(axes: Any, run: Mapping[str, Any]) -> None:
    for name, (colour, style) in STYLES.items():
        if curve := run["curves"].get(name):
            axes.plot(curve.get("usd", curve["share"]), curve["quality"], style, color=colour, label=name)
    title = run["test"] if run["crossed"] else f"{run['train']} -> {run['test']}"
    axes.set_title(f"{title}\n{run['weak']} -> {run['strong']}", fontsize="small")
    axes.set_xlabel("dollars / always-strong" if "usd" in run["curves"]["random"] else "share of strong calls")
    axes.set_ylabel("quality")
    axes.legend(fontsize="x-small", loc="lower right")
