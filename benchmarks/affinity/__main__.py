"""`python -m benchmarks.affinity`: the same conversations with `balance: least_loaded` and with `balance: prefix`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from benchmarks.affinity import plot, report
from benchmarks.affinity.measure import BALANCES, measure_balance
from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say
from benchmarks.common.gateway import warn_of_other_engines
from benchmarks.common.options import add_out, positive, whole
from benchmarks.common.processes import scratch_folder
from benchmarks.common.report import Renderer, write

RENDERER = Renderer(report.markdown, plot.draw)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its report; return the exit status: 1 if the affinity does not hold its promises."""
    options = parse(argv)
    status = run_or_redraw(options, measure, RENDERER)
    return status or report.check(options.out)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.affinity",
        description="Conversations of several turns, some with the same system prompt, through a gateway with several "
        "vLLM replicas of SmolLM2-135M. They are asked twice, on fresh replicas: balanced by load only, and by prefix.",
    )
    add = parser.add_argument
    add("--replicas", type=whole(2), default=2, metavar="N", help="vLLM processes (default: %(default)s)")
    add("--conversations", type=whole(1), default=32, metavar="N", help="conversations (default: %(default)s)")
    add("--turns", type=whole(1), default=5, metavar="N", help="turns of each (default: %(default)s)")
    add("--agents", type=whole(1), default=4, metavar="N", help="different system prompts (default: %(default)s)")
    add("--concurrency", type=whole(1), default=12, metavar="N", help="conversations at a time (default: %(default)s)")
    add("--think-s", type=positive, default=8.0, metavar="S",
        help="mean pause of a client before its next turn; pauses are exponential (default: %(default)g)")  # fmt: skip
    add("--max-tokens", type=whole(1), default=16, metavar="N", help="tokens of an answer (default: %(default)s)")
    add("--workers", type=whole(1), default=1, metavar="N", help="gateway processes (default: %(default)s)")
    add_out(parser, "benchmarks/results/affinity")
    return parser.parse_args(argv)


async def measure(options: argparse.Namespace) -> None:
    """Measure and write the report."""
    about = machine.describe_for_vllm()
    warn_of_other_engines(say)
    with scratch_folder(say) as folder:
        found = {balance: await measure_balance(options, balance, folder, say) for balance in BALANCES}
    names = ("replicas", "conversations", "turns", "agents", "concurrency", "think_s", "max_tokens", "workers")
    chosen = {name: getattr(options, name) for name in names}
    write({"benchmark": "affinity", **about, "options": chosen, "balances": found}, options.out, RENDERER, say)


if __name__ == "__main__":
    sys.exit(main())
