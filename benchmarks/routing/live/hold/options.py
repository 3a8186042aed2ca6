"""The command line of `python -m benchmarks.routing.live.hold`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.common.options import add_out, share, whole
from benchmarks.routing.live.options import add_models

MIN_CONFIDENCES = (0.5, 0.8)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.routing.live.hold",
        description="Streams of free text through a cascade with real models behind a real gateway, held as "
        "`routing.hold` says: how soon they begin, what is right, what it costs.",
    )
    add_models(parser)
    add = parser.add_argument
    add("--learn", type=whole(4), default=200, metavar="N", help="tasks for calibration (default: %(default)s)")
    add("--held-out", type=whole(1), default=60, metavar="N", help="tasks to stream (default: %(default)s)")
    add("--beginning", type=whole(1), default=8, metavar="TOKENS",
        help="tokens that `hold: first` waits for, as for `smallfirst calibrate` (default: %(default)s)")  # fmt: skip
    add("--min-confidence", type=share, nargs="+", default=list(MIN_CONFIDENCES), metavar="P",
        help=f"min_confidence of the requests (default: {' '.join(map(str, MIN_CONFIDENCES))})")  # fmt: skip
    add("--concurrency", type=whole(1), default=4, metavar="N", help="streams at a time (default: %(default)s)")
    add_out(parser, "benchmarks/results/hold")
    return parser.parse_args(argv)
