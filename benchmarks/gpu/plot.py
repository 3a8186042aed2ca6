"""The report as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.plot import BLUE, GREY, ORANGE, new_figure

TARGETS = {"direct": ORANGE, "gateway": BLUE}
UTILISATIONS = (BLUE, GREY, ORANGE)
STYLES = ("-", "--", ":", "-.")


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw throughput, both latencies and the price over the concurrency.

    Raises:
        NoMatplotlib: it is not installed.
    """
    figure = new_figure(11, 8)
    (speed, first), (gap, price) = figure.subplots(2, 2)
    for layout, style in zip(report["layouts"], STYLES, strict=False):
        loads = layout["loads"]
        at = [load["concurrency"] for load in loads]
        name = layout["layout"]
        for axes, key in ((speed, "tokens_per_s"), (first, "first_ms_p50"), (gap, "gap_ms_p50")):
            for target, colour in TARGETS.items():
                values = [load[target][key] for load in loads]
                axes.plot(at, values, style, marker="o", color=colour, label=f"{target}, {name}")
        for share, colour in zip(loads[0]["usd_per_mtok"], UTILISATIONS, strict=False):
            values = [load["usd_per_mtok"][share] for load in loads]
            label = f"{name}, {float(share):.0%} utilisation"
            price.plot(at, values, style, marker="o", color=colour, label=label)
    for axes in (speed, first, gap):
        axes.set_ylim(bottom=0)
    price.set_yscale("log")
    for axes, title in (
        (speed, "Output tokens/s"),
        (first, "Time to the first token, p50, ms"),
        (gap, "Time between tokens, p50, ms"),
        (price, rf"\$ per million output tokens at \${report['gpu_hour_usd']:g}/h"),
    ):
        axes.set_title(title)
        axes.set_xscale("log", base=2)
        axes.set_xticks(at, list(map(str, at)))
        axes.set_xlabel("streams at a time")
        axes.legend(fontsize="small")
    where = report["gpu"]["name"] if report["gpu"] else "CPU"
    dummy = ", dummy weights" if report["dummy"] else ""
    figure.suptitle(f"{report['model']}{dummy}, {where}, {report['date'][:10]}")
    figure.savefig(file, dpi=150)
