"""The report as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.common.plot import BLUE, GREEN, GREY, ORANGE, RED, new_figure

COLOURS = {"least_loaded": ORANGE, "prefix": BLUE}
REPLICA_COLOURS = (BLUE, ORANGE, GREEN, RED, GREY)


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw the cached share of the prompts by turn, and the requests on each replica over time.

    Raises:
        NoMatplotlib: it is not installed.
    """
    found = report["balances"]
    figure = new_figure(12, 4)
    by_turn, *loads = figure.subplots(1, 1 + len(found))
    for name, one in found.items():
        shares = one["cached_by_turn"]
        by_turn.plot(range(1, len(shares) + 1), shares, marker="o", color=COLOURS[name], label=name)
    by_turn.set_xlabel("turn")
    by_turn.set_ylim(0, 1)
    by_turn.set_title("share of the prompt that was cached", fontsize=10)
    by_turn.legend(frameon=False)
    most = max(max(one["most_in_flight"]) for one in found.values())
    for axes, (name, one) in zip(loads, found.items(), strict=True):
        times = [sample["at"] for sample in one["samples"]]
        for replica in range(report["options"]["replicas"]):
            counts = [sample["in_flight"][replica] for sample in one["samples"]]
            colour = REPLICA_COLOURS[replica % len(REPLICA_COLOURS)]
            axes.step(times, counts, color=colour, where="post", label=f"replica {replica}", linewidth=1)
        axes.set_ylim(0, most + 1)
        axes.set_xlabel("seconds")
        axes.set_title(f"requests in flight, {name}", fontsize=10)
        axes.legend(frameon=False)
    for axes in (by_turn, *loads):
        axes.grid(color=GREY, alpha=0.3)
    figure.savefig(file, dpi=130)
