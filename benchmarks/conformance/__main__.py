"""`python -m benchmarks.conformance`: is the gateway what its OpenAPI document and OpenAI's SDK say?"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say, say_broken
from benchmarks.common.options import add_out, whole
from benchmarks.common.processes import scratch_folder
from benchmarks.common.report import JSON, Renderer, read, write
from benchmarks.conformance import document, report, sdk
from benchmarks.conformance.packages import NotInstalled, environment

PARTS = ("document", "sdk")
RENDERER = Renderer(report.markdown)
BROKEN_PROMISES: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "document": document.broken_promises,
    "sdk": sdk.broken_promises,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts and write their report; return the exit status: 1 if a promise is broken, 2 if it cannot run."""
    options = parse(argv)
    found: dict[str, Any] = {}

    async def measure_parts(options: argparse.Namespace) -> None:
        measure(options, found)

    status = run_or_redraw(options, measure_parts, RENDERER, cannot_run=(NotInstalled, document.Failed))
    return status or say_broken(one for part, figures in found.items() for one in BROKEN_PROMISES[part](figures))


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.conformance",
        description="A gateway in front of a scripted upstream that answers everything. `document`: schemathesis runs "
        "against its OpenAPI document. `sdk`: the API tests in the source package of OpenAI's SDK run against it. What "
        "they need is installed once, into an environment of its own.",
    )
    add = parser.add_argument
    add("--part", choices=PARTS, action="append", help="repeat it for several (default: both)")
    add("--examples", type=whole(1), default=100, metavar="N", help="of schemathesis, an operation (default: 100)")
    add("--seed", type=whole(0), default=1, metavar="N", help="of schemathesis (default: 1)")
    add("--sdist", type=Path, metavar="FILE", help="the source package of openai (default: pip downloads it)")
    add_out(parser, "benchmarks/results/conformance")
    return parser.parse_args(argv)


def measure(options: argparse.Namespace, found: dict[str, Any]) -> None:
    """Run the parts, and write the report after each."""
    parts = read(options.out)["parts"] if (options.out / JSON).exists() else {}
    bin_folder = environment(say)
    for part in options.part or PARTS:
        say(part)
        about = machine.describe(("smallfirst", "uvicorn", "fastapi", "pydantic"))
        with scratch_folder(say) as folder:
            if part == "document":
                found[part] = document.measure(bin_folder, folder, options.examples, options.seed, say)
            else:
                found[part] = sdk.measure(bin_folder, folder, options.sdist, say)
        parts[part] = about | {"figures": found[part]}
        whole_report = {"benchmark": "conformance", "parts": {name: parts[name] for name in PARTS if name in parts}}
        write(whole_report, options.out, RENDERER, say)


if __name__ == "__main__":
    sys.exit(main())
