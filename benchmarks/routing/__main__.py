"""`python -m benchmarks.routing`: which calls does the small model keep, what does it save, what does it cost?"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.common import machine
from benchmarks.common.command import say
from benchmarks.common.report import Renderer, redraw, write
from benchmarks.routing import plot, report
from benchmarks.routing.comparison import dataset_means
from benchmarks.routing.data import NoData
from benchmarks.routing.options import parse
from benchmarks.routing.sweep import all_runs, figures_of, single_run

PACKAGES = ("smallfirst", "numpy")
RENDERER = Renderer(report.markdown, plot.draw)
SHORT = ("train", "test", "weak", "strong", "labels", "calls", "support", "policies")
"""what `--json` writes of a run"""


def main(argv: Sequence[str] | None = None) -> int:
    """Fit, score and write; return the exit status: 2 if the data cannot be used."""
    options = parse(argv)
    if options.redraw:
        redraw(options.out, RENDERER, say)
        return 0
    about, found = machine.describe(PACKAGES), []
    try:
        runs = (
            all_runs(options.all)
            if options.all
            else [single_run(options.train, options.test, options.weak, options.strong)]
        )
        for run in runs:
            found.append(figures_of(run, options.samples if options.out else 0))
            say(report.line(found[-1][0]))
    except NoData as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        short = {key: found[0][0][key] for key in SHORT}
        options.json.write_text(json.dumps(short, indent=1) + "\n", encoding="utf-8")
    if options.out:
        whole: dict[str, Any] = {
            "benchmark": "routing",
            **about,
            "samples": options.samples,
            "runs": [figures for figures, _ in found],
            "loads": dataset_means(found),
        }
        write(whole, options.out, RENDERER, say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
