"""How many instructions does a request take? `python -m benchmarks.overhead.instructions --checkout before=DIR`.

CPU times move by a tenth with what else a machine does. The instructions of the whole gateway in one process, between
a client and an upstream that are objects, do not: two revisions can be compared to a percent on any machine. valgrind
counts them, and has to be installed. What a system call and a miss of a cache cost is not in them.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.common import machine
from benchmarks.common.command import say_on_stderr
from benchmarks.common.options import whole
from benchmarks.common.report import table, write_json
from benchmarks.overhead import options
from benchmarks.overhead.processes import environment

NAMES = ("whole", "stream64", "json", "json64", "tools", "tools64", "history")
"""`counted.CASES`"""
REQUESTS = 64
"""of each case: the access log is written once for so many"""
MARK = "*getppid*"
"""a function that the counted process calls before and after the requests, and for no other reason"""
LEAST = 10_000
"""instructions between two marks; less are within the call of the mark itself"""


class CountFailed(Exception):
    """A checkout could not be counted."""


def count(checkout: Path, names: Sequence[str], requests: int) -> dict[str, float]:
    """Return the instructions that a request of each case takes in a checkout.

    Raises:
        CountFailed: its gateway did not answer as scripted, or valgrind could not run it.
    """
    with tempfile.TemporaryDirectory(prefix="instructions-") as folder:
        out = Path(folder, "out")
        command = ["valgrind", "--tool=callgrind", f"--dump-before={MARK}", f"--callgrind-out-file={out}"]
        command += [sys.executable, "-P", str(Path(__file__).with_name("counted.py")), str(requests), *names]
        env = environment() | {"PYTHONPATH": str(checkout), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        ran = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise CountFailed(f"{checkout}: {ran.stderr[-2000:]}")
        dumps = sorted(out.parent.glob("out.*"), key=lambda file: int(file.suffix[1:]))
        return per_request([_total(dump) for dump in dumps], names, requests)


def per_request(totals: Sequence[int], names: Sequence[str], requests: int) -> dict[str, float]:
    """Return each case's instructions a request, of the counts up to each mark: a start and an end for each case."""
    spans = [total for total in totals if total >= LEAST]
    if len(spans) != 2 * len(names):
        raise CountFailed(f"expected {2 * len(names)} marks, but found {len(spans)}")
    return {name: total / requests for name, total in zip(names, spans[1::2], strict=True)}


def as_markdown(counts: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table; the first column is compared with each of the others."""
    this, *others = counts
    head = ("case", this, *(column for other in others for column in (other, f"{this} / {other}")))
    rows = [
        (name, f"{own:,.0f}", *(cell for other in others for cell in _compared(own, counts[other][name])))
        for name, own in counts[this].items()
    ]
    return "\n".join([*table(head, rows), ""])


def _compared(own: float, other: float) -> tuple[str, str]:
    return f"{other:,.0f}", f"{own / other:.3f}"


def _total(dump: Path) -> int:
    [line] = [line for line in dump.read_text().splitlines() if line.startswith("totals:")]
    return int(line.split()[1])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overhead.instructions", description="How many instructions does a request take?"
    )
    parser.add_argument("--checkout", type=options.checkout, action="append", default=[], metavar="NAME=DIR")
    parser.add_argument("--cases", nargs="+", choices=NAMES, default=NAMES, metavar="CASE", help=", ".join(NAMES))
    parser.add_argument("--requests", type=whole(1), default=REQUESTS, metavar="N", help=f"default: {REQUESTS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args(argv)
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is not installed")
    counts = {}
    try:
        for name, checkout in [("smallfirst", machine.ROOT), *arguments.checkout]:
            say_on_stderr(f"counting {name}: a minute or two")
            counts[name] = count(checkout, arguments.cases, arguments.requests)
    except CountFailed as error:
        say_on_stderr(f"no figures: {error}")
        return 1
    print(as_markdown(counts))
    if arguments.json:
        revisions = {name: machine.revision(folder) for name, folder in arguments.checkout}
        about = machine.describe(()) | {"requests": arguments.requests, "checkouts": revisions}
        write_json(about | {"instructions": counts}, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
