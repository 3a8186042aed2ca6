"""`python -m benchmarks.swap`: requests for several models at once, of which only some are loaded at a time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say
from benchmarks.common.options import add_out, positive, whole
from benchmarks.common.processes import scratch_folder
from benchmarks.common.report import Renderer, write
from benchmarks.swap import plot, report
from benchmarks.swap.measure import measure_swaps

RENDERER = Renderer(report.markdown, plot.draw)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its report; return the exit status: 1 if a request was lost."""
    options = parse(argv)
    status = run_or_redraw(options, measure, RENDERER)
    return status or report.check(options.out)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.swap",
        description="Requests for several models at once, in random order, through a gateway whose swap group keeps "
        "only some of them loaded. The models are tiny Llamas with random weights on real vLLM.",
    )
    add = parser.add_argument
    add("--models", type=whole(2), default=3, metavar="N", help="models of the group (default: %(default)s)")
    add("--keep", type=whole(1), default=2, metavar="N", help="models loaded at a time (default: %(default)s)")
    add("--requests", type=whole(1), default=200, metavar="N", help="requests (default: %(default)s)")
    add("--concurrency", type=whole(1), default=12, metavar="N", help="requests at a time (default: %(default)s)")
    add("--max-tokens", type=whole(1), default=16, metavar="N", help="tokens of an answer (default: %(default)s)")
    add("--turn-s", type=positive, default=5.0, metavar="S", help="turn_s of the group (default: %(default)g)")
    add("--workers", type=whole(1), default=1, metavar="N", help="gateway processes (default: %(default)s)")
    add("--stand-in", action="store_true",
        help="small servers in place of vLLM: they start in --load-s seconds and need no memory")  # fmt: skip
    add("--load-s", type=positive, default=1.0, metavar="S", help="start of a stand-in (default: %(default)g)")
    add_out(parser, "benchmarks/results/swap")
    options = parser.parse_args(argv)
    if options.keep >= options.models:
        parser.error("--keep must be less than --models")
    return options


async def measure(options: argparse.Namespace) -> None:
    """Measure and write the report."""
    about = machine.describe_for_vllm()
    with scratch_folder(say) as folder:
        found = await measure_swaps(options, folder, say)
    write({"benchmark": "swap", **about, **found}, options.out, RENDERER, say)


if __name__ == "__main__":
    sys.exit(main())
