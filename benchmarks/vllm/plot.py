"""The report as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.plot import BLUE, GREY, ORANGE, new_figure
from benchmarks.common.stats import percentile
from benchmarks.vllm.samples import Workload


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw the ratios with their intervals, and the differences of the time to the first token.

    Raises:
        NoMatplotlib: it is not installed.
    """
    figure = new_figure(11, 4)
    left, right = figure.subplots(1, 2)
    _ratios(left, report["throughput"])
    if report["first_token"]:
        _differences(right, report["first_token"])
    else:
        right.set_axis_off()
    machine = report["machine"]
    figure.suptitle(f"{report['model']}, {machine['cpu']}, {machine['cores']} cores, {report['date'][:10]}")
    figure.savefig(file, dpi=150)


def _ratios(axes: Any, entries: list[dict[str, Any]]) -> None:
    for place, entry in enumerate(entries):
        ratio = entry["ratio"]
        noise = entry["direct_against_itself"]
        axes.plot([place + 0.15] * len(noise), noise, ".", color=GREY, label="" if place else "direct against itself")
        axes.plot(place, ratio["value"], "o", color=BLUE, label="" if place else "gateway / direct")
        if ratio["low"] is not None:
            axes.plot([place, place], [ratio["low"], ratio["high"]], color=BLUE)
    axes.axhline(entries[0]["target"], color=ORANGE, linestyle="--", label=f"goal {entries[0]['target']}")
    axes.set_xticks(range(len(entries)), [str(Workload(**entry["work"])).replace(", ", "\n") for entry in entries])
    axes.set_ylabel("throughput, as a share of direct")
    axes.set_title("Throughput (95% interval)")
    axes.legend()


def _differences(axes: Any, found: dict[str, Any]) -> None:
    differences = sorted(pair["gateway_ms"] - pair["direct_ms"] for pair in found["pairs"])
    axes.step(differences, [(place + 1) / len(differences) for place in range(len(differences))], color=GREY)
    added = found["added_ms"]
    axes.axvline(added["value"], color=BLUE, label=f"median {added['value']:+.2f} ms")
    if added["low"] is not None:
        axes.axvspan(added["low"], added["high"], color=BLUE, alpha=0.2)
    axes.axvline(found["target_ms"], color=ORANGE, linestyle="--", label=f"goal {found['target_ms']:+g} ms")
    lowest, highest = percentile(differences, 0.02), percentile(differences, 0.98)
    axes.set_xlim(min(lowest, -1), max(highest, found["target_ms"] + 1))  # the outliers are in report.json
    axes.set_xlabel("gateway less direct, ms")
    axes.set_ylabel("share of pairs")
    axes.set_title("Time to the first token, paired differences")
    axes.legend()
