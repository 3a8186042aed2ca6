"""Argument types, and options that several benchmarks have."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.common.servers import normal_root


def add_out(parser: argparse.ArgumentParser, folder: str) -> None:
    """Add `--out` and `--redraw`."""
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


def add_load(
    parser: argparse.ArgumentParser,
    full: Mapping[str, int],
    quick: Mapping[str, int],
    *,
    concurrency: Sequence[int],
) -> None:
    """Add the options for the amount of load; `fill_defaults` sets those that were not given."""
    add = parser.add_argument_group("load").add_argument
    add("--rounds", type=whole(1), help=f"rounds of four samples (default: {full['rounds']})")
    add("--requests", type=whole(1), help=f"requests of a sample on each connection (default: {full['requests']})")
    add("--max-tokens", type=whole(2), help=f"tokens of an answer (default: {full['max_tokens']})")
    add(
        "--concurrency",
        type=whole_list,
        default=list(concurrency),
        metavar="N,N",
        help=f"concurrent requests, one measurement each (default: {','.join(map(str, concurrency))})",
    )
    add("--quick", action="store_true", help=f"short: {', '.join(f'{k} {v}' for k, v in quick.items())}")


def add_servers(group: argparse._ArgumentGroup, *, keys: str) -> None:
    """Add the options for a gateway to start, or for servers that are already running; see `check_servers`."""
    add = group.add_argument
    add("--config", type=Path, default=Path("models.yaml"), metavar="FILE", help="for the gateway that is started")
    add("--url", type=root, help=f"a gateway that is already running{keys}")
    add("--direct", type=root, help="the vLLM behind it: http://host:port or unix:/path")
    add("--model", help="the name of the small model on both servers (default: the first that vLLM serves)")


def check_servers(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """End the command if only one of `--url` and `--direct` was given."""
    if (options.url is None) != (options.direct is None):
        parser.error("--url and --direct belong together: both must lead to the same vLLM")


def fill_defaults(options: argparse.Namespace, defaults: Mapping[str, int]) -> None:
    """Set the options that were not given."""
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def key_header() -> dict[str, str]:
    """Return the header with the gateway's client key, if the environment has one in `SMALLFIRST_KEY`."""
    key = os.environ.get("SMALLFIRST_KEY")
    return {"authorization": f"Bearer {key}"} if key else {}


def whole(low: int) -> Callable[[str], int]:
    """Return a function that reads a whole number of at least `low`."""

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low}, got {text!r}")
        return int(text)

    return read


def whole_list(text: str) -> list[int]:
    """Read whole numbers of at least 1, separated by commas.

    Raises:
        ArgumentTypeError: one is not.
    """
    return [whole(1)(part.strip()) for part in text.split(",")]


def positive(text: str) -> float:
    """Read a number above 0.

    Raises:
        ArgumentTypeError: it is not.
    """
    if not 0 < (value := _number(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def share(text: str) -> float:
    """Read a number from 0 to 1.

    Raises:
        ArgumentTypeError: it is not.
    """
    if not 0 <= (value := _number(text)) <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return value


def root(text: str) -> str:
    """Read the address of a server.

    Raises:
        ArgumentTypeError: it is not one.
    """
    try:
        return normal_root(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def named(text: str) -> tuple[str, str]:
    """Read `NAME=VALUE`.

    Raises:
        ArgumentTypeError: it is not.
    """
    name, _, value = text.partition("=")
    if not name or not value:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
