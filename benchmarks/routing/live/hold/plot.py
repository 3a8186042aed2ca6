"""The report as a picture."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.common.plot import BLUE, ORANGE, new_figure

WIDTH = 0.3
"""dots are moved up to this far to both sides, so that they do not overlap"""


def draw(report: dict[str, Any], file: Path) -> None:
    """Draw each stream's time to its first token, in a column for each variant.

    Raises:
        NoMatplotlib: it is not installed.
    """
    variants = report["ways"]
    figure = new_figure(1.5 + 1.7 * len(variants), 4.8)
    axes = figure.subplots()
    draw = random.Random(0)
    for model, colour in ((report["small"], BLUE), (report["large"], ORANGE)):
        dots = [
            (place + draw.uniform(-WIDTH, WIDTH), stream["first_s"])
            for place, variant in enumerate(variants)
            for stream in variant["streams"]
            if stream["model"] == model and stream["first_s"] is not None
        ]
        axes.plot(*zip(*dots, strict=True) if dots else ([], []), ".", color=colour, alpha=0.7, label=f"by {model}")
    for place, variant in enumerate(variants):
        if variant["first_s"]:
            axes.hlines(variant["first_s"]["median"], place - 0.4, place + 0.4, color="black")
    axes.set_xticks(range(len(variants)), [_column(variant) for variant in variants])
    axes.set_ylabel("seconds to the first token")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
    axes.set_title("routing.hold: when a stream begins (a dot is a stream, the line is the median)")
    figure.savefig(file, dpi=150)


def _column(variant: dict[str, Any]) -> str:
    least = "" if variant["min_confidence"] is None else f", {variant['min_confidence']:g}"
    early = f"\n{sum(one['early'] for one in variant['streams'])} released early" if variant["hold"] == "first" else ""
    return f"{variant['hold']}{least}\n{variant['fields']['value']:.0%} right fields{early}"
