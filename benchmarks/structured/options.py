"""The command line of `python -m benchmarks.structured`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.vllm.options import add_out, root, whole

PARTS = ("checker", "speed", "hostile", "suite", "model", "tools")
OF_DATA = ("checker", "speed", "model", "tools")
OF_MODEL = ("model", "tools")


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: 2, it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.structured",
        description="Is a structured answer what was asked for, or an error that says why? And what does that cost?",
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (default: those whose input is there)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="schemas and tasks; without it, how to get them is said"
    )
    parser.add_argument("--suite", type=Path, metavar="DIR", help="a clone of the JSON-Schema-Test-Suite")
    parser.add_argument("--cases", type=whole(1), default=1_000, help="of the hostile upstream (default: %(default)s)")
    parser.add_argument(
        "--limit", type=whole(1), metavar="N", help="only so many schemas and tasks, from all over the data"
    )
    real = parser.add_argument_group("the real model (default: a gateway of its own, with models.yaml)")
    real.add_argument("--config", type=Path, default=Path("models.yaml"), metavar="FILE", help="of the own gateway")
    real.add_argument("--url", type=root, help="a gateway that runs already, without keys")
    real.add_argument("--direct", type=root, help="the vLLM behind it: http://host:port or unix:/path")
    real.add_argument("--max-tokens", type=whole(1), default=64, help="of an answer to a schema (default: %(default)s)")
    real.add_argument("--model", help="the small one's name (default: the first that vLLM serves)")
    behind = real.add_mutually_exclusive_group()
    behind.add_argument(
        "--ladder", metavar="ROUTE", help="of the running gateway: the small model with another behind it"
    )
    behind.add_argument(
        "--fallback-gguf",
        type=Path,
        metavar="PATH",
        help="the stand-in behind it: its GGUF file, or the wheels' folder",
    )
    add_out(parser, "benchmarks/results/structured")
    options = parser.parse_args(argv)
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if (options.url is None) != (options.direct is None):
        parser.error("--url and --direct belong together")
    if options.ladder and not options.url:
        parser.error("--ladder is a route of the gateway at --url")
    if options.fallback_gguf and options.url:
        parser.error("--fallback-gguf is for a gateway of the benchmark's own, not for one at --url")
    return options
