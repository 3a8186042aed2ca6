"""What all plots share. matplotlib is optional: without it, a report has no picture."""

from __future__ import annotations

from typing import Any

BLUE, ORANGE, GREY, RED, GREEN = "#3366aa", "#dd7722", "#888888", "#cc2222", "#559955"


class NoMatplotlib(Exception):
    """matplotlib is not installed, so there is no picture."""


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of this width and height in inches.

    Raises:
        NoMatplotlib: it is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        raise NoMatplotlib(
            "no report.png: it needs matplotlib (`.venv/bin/uv pip install matplotlib`); then repeat with --redraw"
        ) from None
    return Figure(figsize=(width, height), layout="constrained")
