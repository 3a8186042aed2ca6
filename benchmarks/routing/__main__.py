"""`python -m benchmarks.routing`: which calls does the small model keep, what does it save, what does it cost?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks import machine
from benchmarks.routing import plot, report
from benchmarks.routing.data import NoData
from benchmarks.routing.loads import loads
from benchmarks.routing.options import parse
from benchmarks.routing.sweep import chosen, everything, figures_of
from benchmarks.vllm.program import say
from benchmarks.vllm.write import redraw, write

PACKAGES = ("smallfirst", "numpy")


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, score and write; return the exit status: 2 where the data cannot be used."""
    options = parse(argv)
    if options.redraw:
        redraw(options.out, say, draw=plot.draw, markdown=report.markdown)
        return 0
    about, found = machine.describe(PACKAGES), []
    try:
        runs = (
            everything(options.all)
            if options.all
            else [chosen(options.train, options.test, options.weak, options.strong)]
        )
        for run in runs:
            found.append(figures_of(run, options.samples if options.out else 0))
            say(report.line(found[-1][0]))
    except NoData as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(short(found[0][0]), indent=1) + "\n", encoding="utf-8")
    if options.out:
        whole: dict[str, Any] = {
            "benchmark": "routing",
            **about,
            "samples": options.samples,
            "runs": [figures for figures, _ in found],
            "loads": loads(found),
        }
        write(whole, options.out, say, draw=plot.draw, markdown=report.markdown)
    return 0


def short(run: dict[str, Any]) -> dict[str, Any]:
    """Return what --json writes of a run."""
    return {key: run[key] for key in ("train", "test", "weak", "strong", "labels", "calls", "support", "policies")}


if __name__ == "__main__":
    sys.exit(main())
