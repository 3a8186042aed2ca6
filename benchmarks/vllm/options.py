"""The command line of `python -m benchmarks.vllm`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.vllm.sides import normal_root

FULL = {"rounds": 10, "requests": 2, "max_tokens": 32, "pairs": 100}
QUICK = {"rounds": 3, "requests": 2, "max_tokens": 16, "pairs": 20}


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: 2, it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vllm",
        description="What the gateway takes away from vLLM's throughput and time to first token: the same vLLM, "
        "asked directly and through the gateway, in turns.",
    )
    where = parser.add_argument_group("what is measured (default: a gateway of its own, with models.yaml)")
    where.add_argument("--config", type=Path, default=Path("models.yaml"), metavar="FILE", help="of the own gateway")
    where.add_argument("--url", type=root, help="a gateway that runs already; SMALLFIRST_KEY is its key, if any")
    where.add_argument("--direct", type=root, help="the vLLM behind it: http://host:port or unix:/path")
    where.add_argument("--model", help="its name, the same on both sides (default: the first that vLLM serves)")
    add_load_options(parser, FULL, QUICK, concurrency=(1, 8))
    parser.add_argument("--prompt-words", type=whole(1), default=4, help="words of a prompt (default: %(default)s)")
    parser.add_argument("--pairs", type=whole(0), help="pairs for the first token; 0: none (default: 100)")
    add_out(parser, "benchmarks/results/vllm")
    options = parser.parse_args(argv)
    if (options.url is None) != (options.direct is None):
        parser.error("--url and --direct belong together: both must be of the same vLLM")
    fill(options, QUICK if options.quick else FULL)
    return options


def add_load_options(
    parser: argparse.ArgumentParser,
    full: Mapping[str, int],
    quick: Mapping[str, int],
    *,
    concurrency: Sequence[int],
) -> None:
    """Add the options that say how much load there is; `fill` puts the defaults in."""
    load = parser.add_argument_group("load")
    load.add_argument("--rounds", type=whole(1), help=f"rounds of four legs (default: {full['rounds']})")
    load.add_argument(
        "--requests", type=whole(1), help=f"requests of a leg on each connection (default: {full['requests']})"
    )
    load.add_argument("--max-tokens", type=whole(2), help=f"tokens of an answer (default: {full['max_tokens']})")
    load.add_argument(
        "--concurrency",
        type=whole_list,
        default=list(concurrency),
        metavar="N,N",
        help=f"requests at a time, one measurement each (default: {','.join(map(str, concurrency))})",
    )
    load.add_argument("--quick", action="store_true", help=f"short: {', '.join(f'{k} {v}' for k, v in quick.items())}")


def add_out(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add where the report goes, and how to have it written again."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(folder),
        metavar="DIR",
        help="where report.json, report.md and report.png go (default: %(default)s)",
    )
    parser.add_argument(
        "--redraw", action="store_true", help="measure nothing: write report.md and report.png from DIR/report.json"
    )


def fill(options: argparse.Namespace, defaults: Mapping[str, int]) -> None:
    """Set what the command line left out."""
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def whole(low: int) -> Callable[[str], int]:
    """Return what reads a whole number from `low` on."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low}, got {text!r}")
        return int(text)

    return read


def whole_list(text: str) -> list[int]:
    """Read numbers from 1 on with commas between them.

    Raises:
        ArgumentTypeError: one is none.
    """
    return [whole(1)(part.strip()) for part in text.split(",")]


def root(text: str) -> str:
    """Read where a server is.

    Raises:
        ArgumentTypeError: that is no address.
    """
    try:
        return normal_root(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
