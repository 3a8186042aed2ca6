"""The command line of `python -m benchmarks.structured`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.options import add_out, add_servers, check_servers, whole

PARTS = ("checker", "speed", "hostile", "suite", "model", "tools")
NEEDS_DATA = ("checker", "speed", "model", "tools")
NEEDS_MODEL = ("model", "tools")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.structured",
        description="Is a structured answer what was asked for, or an error that says why? And what does that cost?",
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: those whose input is given)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="schemas and tasks; without it, the command says how to get them"
    )
    parser.add_argument("--suite", type=Path, metavar="DIR", help="a clone of the JSON-Schema-Test-Suite")
    parser.add_argument("--cases", type=whole(1), default=1_000, help="of the hostile upstream (default: %(default)s)")
    parser.add_argument(
        "--limit",
        type=whole(1),
        metavar="N",
        help="use only N schemas and N tasks, taken at equal distances",
    )
    real = parser.add_argument_group("the real model (default: a gateway that is started with models.yaml)")
    add_servers(real, keys=", without client keys")
    real.add_argument("--max-tokens", type=whole(1), default=64, help="of an answer to a schema (default: %(default)s)")
    behind = real.add_mutually_exclusive_group()
    behind.add_argument(
        "--ladder", metavar="ROUTE", help="a route of the running gateway: the small model with a fallback"
    )
    behind.add_argument(
        "--fallback-gguf",
        type=Path,
        metavar="PATH",
        help="the stand-in as fallback: its GGUF file, or the folder of the wheels",
    )
    add_out(parser, "benchmarks/results/structured")
    options = parser.parse_args(argv)
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    check_servers(parser, options)
    if options.ladder and not options.url:
        parser.error("--ladder is a route of the gateway at --url")
    if options.fallback_gguf and options.url:
        parser.error("--fallback-gguf is for a gateway that is started, not for one at --url")
    return options
