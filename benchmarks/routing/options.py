"""The command line of `python -m benchmarks.routing`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.options import whole


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing",
        description="Which calls does the small model keep, what does that save, and what quality does it cost? "
        "Fits every policy on labelled results of a pair of models and scores it on other results.",
    )
    parser.add_argument("--train", type=Path, nargs="+", metavar="FILE", help="to fit on: JSON Lines, gzipped or not")
    parser.add_argument(
        "--test", type=Path, nargs="+", metavar="FILE", help="to score on (default: --train, cross-fitted)"
    )
    parser.add_argument("--weak", metavar="MODEL", help="in files with several models (default: the cheapest)")
    parser.add_argument("--strong", metavar="MODEL", help="in files with several models (default: the best)")
    parser.add_argument("--all", type=Path, metavar="DIR", help="every file there, alone and with others: minutes")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write only the figures, as fractions")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.json, report.md and report.png")
    parser.add_argument("--redraw", action="store_true", help="only write the last two again from DIR/report.json")
    parser.add_argument(
        "--samples", type=whole(0), default=1_000, help="bootstrap samples for the intervals (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    if options.redraw:
        if not options.out:
            parser.error("--redraw needs --out")
        return options
    if bool(options.train) == bool(options.all):
        parser.error("one of --train and --all is needed")
    if options.all and (options.test or options.json or options.weak or options.strong or not options.out):
        parser.error("--all goes with --out alone")
    if not (options.json or options.out):
        parser.error("--json or --out is needed")
    return options
