"""The report as a picture: CPU and added latency of each gateway, with the rounds' spread."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.common.plot import new_figure
from benchmarks.overhead.report import DIRECT, REFERENCE, Figures, Results, Spread, figures
from benchmarks.overhead.scenarios import HEADLINE, LATENCY

GREY, BLUE, OTHERS = "#9a9a9a", "#1f6fb4", "#d08a3e"
COLUMNS = 2
TITLES = {
    "whole-c8": "whole answers of 32 tokens, 8 at a time",
    "stream64-c8": "streams of 64 events, 8 at a time",
    "whole-c1": "whole answers of 32 tokens, one at a time",
    "stream64-c1": "streams of 64 events, one at a time",
}


def draw(results: Results, path: Path) -> bool:
    """Write a PNG with a panel for each headline scenario of the run; return whether there was one.

    Raises:
        NoMatplotlib: it is not installed.
    """
    names = [name for name in (*HEADLINE, *LATENCY) if name in results]
    if not names:
        return False
    rows = math.ceil(len(names) / COLUMNS)
    figure = new_figure(11, 0.6 + 2.2 * rows)
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(rows, COLUMNS, place)
        bars = {
            target: spread
            for target in results[name]
            if target != DIRECT and (spread := _value(name, figures(results[name], target))) is not None
        }
        lengths = [spread.median for spread in bars.values()]
        around = [[s.median - s.low for s in bars.values()], [s.high - s.median for s in bars.values()]]
        drawn = axes.barh(list(bars), lengths, xerr=around, capsize=3, color=[_colour(target) for target in bars])
        axes.bar_label(drawn, fmt="{:,.2f}" if name in LATENCY else "{:,.0f}", padding=6)
        axes.margins(x=0.15)
        axes.invert_yaxis()
        axes.set_title(TITLES[name], fontsize=10, loc="left")
        axes.set_xlabel("added median latency, ms" if name in LATENCY else "CPU per request, microseconds")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    return True


def _value(name: str, found: Figures) -> Spread | None:
    return found.added_p50_ms if name in LATENCY else found.cpu_us


def _colour(target: str) -> str:
    return GREY if target == REFERENCE else BLUE if target.startswith("smallfirst") else OTHERS
