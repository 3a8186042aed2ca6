"""The command line of `python -m benchmarks.overhead`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.common.options import named, whole, whole_list
from benchmarks.overhead.scenarios import HEADLINE, SCENARIOS, Scenario
from benchmarks.overhead.startup import QUICK_STARTS, STARTS
from benchmarks.overhead.upstream import PAUSE_MS

ROUNDS, QUICK_ROUNDS, QUICK_SHARE = 5, 3, 5


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead", description="What a gateway costs per request."
    )
    add = parser.add_argument
    add("--scenarios", type=_scenarios, metavar="NAME,...", default=list(SCENARIOS.values()),
        help=f"of {', '.join(SCENARIOS)}; or headline (default: all)")  # fmt: skip
    add("--rounds", type=whole(1), metavar="N", help=f"default: {ROUNDS}; with --quick {QUICK_ROUNDS}")
    add("--quick", action="store_true", help=f"1/{QUICK_SHARE} of the requests, and fewer rounds")
    add("--starts", type=whole(0), metavar="N",
        help=f"starts to measure; 0: none (default: {STARTS}, --quick: {QUICK_STARTS})")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="write report.json, report.md and report.png there")
    add("--upstream", metavar="URL", help="a scripted upstream that is already running, with /v1")
    add("--upstream-port", type=int, default=0, metavar="PORT", help="of the one that is started (default: any)")
    add("--pause-ms", type=float, default=PAUSE_MS, help=f"between the events of paced64 (default: {PAUSE_MS:g})")
    add("--also", type=named, action="append", default=[], metavar="NAME=URL",
        help="another gateway, with /v1, in front of the same upstream")  # fmt: skip
    add("--also-pid", type=_pid, action="append", default=[], metavar="NAME=PID", help="its process, for its CPU")
    add("--checkout", type=checkout, action="append", default=[], metavar="NAME=DIR",
        help="smallfirst in another folder, for instance before a change")  # fmt: skip
    add("--workers", type=whole_list, default=[], metavar="N,...",
        help="compare these numbers of worker processes, for instance 1,2")  # fmt: skip
    options = parser.parse_args(argv)
    if options.rounds is None:
        options.rounds = QUICK_ROUNDS if options.quick else ROUNDS
    if options.starts is None:
        options.starts = QUICK_STARTS if options.quick else STARTS
    return options


def _scenarios(text: str) -> list[Scenario]:
    wanted = [name for given in text.split(",") for name in (HEADLINE if given == "headline" else (given,))]
    if unknown := [name for name in wanted if name not in SCENARIOS]:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    return [SCENARIOS[name] for name in wanted]


def _pid(text: str) -> tuple[str, int]:
    name, value = named(text)
    return name, int(value)


def checkout(text: str) -> tuple[str, Path]:
    """Read NAME=DIR: the folder of another revision of smallfirst."""
    name, value = named(text)
    if not (Path(value) / "server" / "cli.py").is_file():
        raise argparse.ArgumentTypeError(f"{value} is no checkout of smallfirst: it has no server/cli.py")
    return name, Path(value).absolute()
