"""The outcomes of the answers as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.plot import BLUE, GREEN, GREY, ORANGE, RED, new_figure

COLOURS = {"valid": GREEN, "truncated, and says so": BLUE, "refused": GREY, "a clear error": ORANGE, "invalid": RED}


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw a bar for each variant in which a real model was asked; draw nothing if none was.

    Raises:
        NoMatplotlib: it is not installed.
    """
    bars = {
        f"{part}: {variant}": shares(entry["outcomes"])
        for part in ("model", "tools")
        if part in report["parts"]
        for variant, entry in report["parts"][part]["figures"]["ways"].items()
    }
    if not bars:
        return
    figure = new_figure(11, 1.5 + 0.5 * len(bars))
    axes = figure.subplots()
    for word, colour in COLOURS.items():
        left = [sum(bar[other] for other in list(COLOURS)[: list(COLOURS).index(word)]) for bar in bars.values()]
        axes.barh(list(bars), [bar[word] for bar in bars.values()], left=left, color=colour, label=word)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the answers")
    axes.legend(ncols=len(COLOURS), loc="upper center", bbox_to_anchor=(0.5, -0.15), fontsize="small")
    figure.suptitle("Outcomes of structured answers")
    figure.savefig(file, dpi=150)


def shares(outcomes: Mapping[str, int]) -> dict[str, float]:
    """Return the share of each kind of outcome."""
    total = sum(outcomes.values()) or 1
    counts = dict.fromkeys(COLOURS, 0)
    for outcome, count in outcomes.items():
        word = "a clear error" if outcome.startswith("error") else outcome
        counts["truncated, and says so" if word == "truncated" else word] += count
    return {word: count / total for word, count in counts.items()}
