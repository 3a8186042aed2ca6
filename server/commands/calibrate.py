"""`smallfirst calibrate`: learn from labelled calls."""

from __future__ import annotations

import argparse
from pathlib import Path

from server.commands.base import Subparsers, add_config_option, load_config, print_error


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser(
        "calibrate", help="learn from labelled calls which answers of the small models a route may accept"
    )
    add_config_option(parser)
    add = parser.add_argument
    add("--data", type=Path, action="append", required=True, metavar="FILE",
        help="labelled calls, in the format of docs/routing.md; may be given several times")  # fmt: skip
    add("--route", metavar="NAME", help="the route of these calls (default: the first route)")
    add("--out", type=Path, default=Path("evidence.json"), metavar="FILE",
        help="the file to write, which the route's `evidence` then names (default: evidence.json)")  # fmt: skip
    add("--beginning", type=_positive_tokens, default=0, metavar="TOKENS",
        help="learn also how much the first TOKENS tokens of an answer predict, for `hold: first` "
             "(default: only whole answers)")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the evidence and print how good it is."""
    from router.learning import calibrate  # noqa: PLC0415 - as in `serve`

    print(calibrate.run(load_config(arguments.config), arguments, print_error))  # noqa: T201
    return 0


def _positive_tokens(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number of tokens from 1, got {text!r}")
    return int(text)
