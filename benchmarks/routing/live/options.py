"""The command line of `python -m benchmarks.routing.live`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.options import add_out, whole


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing.live",
        description="The cascade with real models behind a real gateway: function calls and extraction, by the small "
        "model alone, by the large one alone, and by the cascade at several thresholds.",
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="DIR", help="has bfcl.jsonl; without it, the command says how to get it")
    add_models(parser)
    add("--tasks", type=whole(4), default=100, metavar="N",
        help="function-calling tasks, half of them for calibration (default: %(default)s)")  # fmt: skip
    add_out(parser, "benchmarks/results/live")
    return parser.parse_args(argv)


def add_models(parser: argparse.ArgumentParser) -> None:
    """Add the options for the two models."""
    add = parser.add_argument
    add("--config", type=Path, default=Path("models.yaml"), metavar="FILE",
        help="the models: the first one of the first route is the small one (default: %(default)s)")  # fmt: skip
    add("--fallback-gguf", type=Path, metavar="PATH",
        help="the stand-in as fallback: its GGUF file, or the wheels' folder (default: the route's last)")  # fmt: skip
