"""The command line of `python -m benchmarks.vllm`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from benchmarks.common.options import add_load, add_out, add_servers, check_servers, fill_defaults, whole

FULL = {"rounds": 10, "requests": 2, "max_tokens": 32, "pairs": 100}
QUICK = {"rounds": 3, "requests": 2, "max_tokens": 16, "pairs": 20}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vllm",
        description="How much of vLLM's throughput the gateway costs, and how much it adds to the time to first token. "
        "The same vLLM is asked directly and through the gateway, in turns.",
    )
    group = parser.add_argument_group("what is measured (default: a gateway that is started with models.yaml)")
    add_servers(group, keys="; SMALLFIRST_KEY is its client key, if it needs one")
    add_load(parser, FULL, QUICK, concurrency=(1, 8))
    parser.add_argument("--prompt-words", type=whole(1), default=4, help="words of a prompt (default: %(default)s)")
    parser.add_argument("--pairs", type=whole(0), help="pairs for the first token; 0: none (default: 100)")
    add_out(parser, "benchmarks/results/vllm")
    options = parser.parse_args(argv)
    check_servers(parser, options)
    fill_defaults(options, QUICK if options.quick else FULL)
    return options
