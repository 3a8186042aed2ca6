"""`python -m benchmarks.midstream`: kill one of two vLLM replicas in the middle of streams."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say
from benchmarks.common.options import add_out, whole
from benchmarks.common.processes import scratch_folder
from benchmarks.common.report import Renderer, write
from benchmarks.midstream import report
from benchmarks.midstream.measure import measure_cuts

RENDERER = Renderer(report.markdown)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its report; return the exit status: 1 if an answer was not whole."""
    options = parse(argv)
    status = run_or_redraw(options, measure, RENDERER)
    return status or report.check(options.out)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.midstream",
        description="Streams from two managed vLLM replicas of SmolLM2-135M at temperature 0, half of them under a "
        "JSON schema: once undisturbed, then one replica's API server is killed with SIGKILL in the middle of them.",
    )
    add = parser.add_argument
    add("--streams", type=whole(2), default=8, metavar="N", help="streams at a time (default: %(default)s)")
    add("--max-tokens", type=whole(8), default=64, metavar="N", help="tokens of a text (default: %(default)s)")
    add("--kill-after", type=whole(1), nargs="+", default=[2, 8, 16], metavar="N",
        help="one round for each: the kill comes when every stream has so many pieces (default: 2 8 16)")  # fmt: skip
    add("--stand-in", action="store_true", help="small servers in place of vLLM: they need no memory")
    add_out(parser, "benchmarks/results/midstream")
    return parser.parse_args(argv)


async def measure(options: argparse.Namespace) -> None:
    """Measure and write the report."""
    about = machine.describe_for_vllm()
    with scratch_folder(say) as folder:
        found = await measure_cuts(options, folder, say)
    write({"benchmark": "midstream", **about, **found}, options.out, RENDERER, say)


if __name__ == "__main__":
    sys.exit(main())
