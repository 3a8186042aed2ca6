"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.common.machine import machine_line
from benchmarks.common.report import table
from benchmarks.routing.live.tasks import CALLS, EXTRACTION, MAX_TOKENS
from benchmarks.structured.tools import STANDIN

STANDS_FOR = f"`{STANDIN}` is a 0.5B model that replaces gpt-4.1-mini and has its price."
HEAD = (
    *("right (95% interval)", "at random", CALLS, EXTRACTION),
    *("$", "$ apart", "by the large", "escalated", "mean s", "lost"),
)
EXPLAINED = """\
- At random: the share of right answers if the large model answered the same share of calls, chosen at random.
- $: the charged dollars of 1,000 calls. Both models share the cores here, so the small model, which is paid by the
  hour, takes longer while the large one is busy. Apart: each answer has the price that it had when its model ran alone.
- By the large: the share of its answers. Escalated: the share for which the small model was asked, and paid, first.
- Mean s: seconds of a whole answer, on the shared cores. Lost: calls without an answer."""


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: there is a report.png."""
    lines = ["# The cascade, live: how many answers are right, and what they cost", ""]
    if picture:
        lines += ["![right answers over dollars](report.png)", ""]
    return "\n".join([*lines, *_body(report), "", "All figures are in report.json.", ""])


def prices(of: Mapping[str, object]) -> Iterator[str]:
    """Yield the prices of the models."""
    yield "Prices: " + "; ".join(f"`{name}` {_price(price)}" for name, price in of.items()) + "."
    yield (
        "A replica is charged for its busy time, which is divided among the requests in flight. Idle hours are not"
        " included."
    )
    if STANDIN in of:
        yield STANDS_FOR


def _body(report: Mapping[str, Any]) -> Iterator[str]:
    variants = report["ways"]
    calls = next(iter(variants.values()))["calls"]
    yield machine_line(report)
    yield ""
    yield (
        f"`{report['small']}` with `{report['large']}` as fallback: {calls} held-out tasks, {report['learned']} other"
        f" tasks for calibration, {report['concurrency']} at a time through the gateway, at most {MAX_TOKENS} tokens,"
        f" temperature 0. {CALLS.capitalize()}: tasks of the Berkeley Function-Calling Leaderboard with a single call,"
        f" graded by its rules. {EXTRACTION.capitalize()}: generated messages; an answer is right if every field is. In"
        " brackets: the share of right fields."
    )
    yield ""
    small, large, *_ = variants.values()
    yield from table(("", *HEAD), [[name, *_cells(one, small, large)] for name, one in variants.items()])
    yield ""
    yield EXPLAINED
    yield ""
    yield from prices(report["prices"])
    yield ""
    yield "Output of `smallfirst calibrate`:"
    yield ""
    yield f"```\n{report['calibration'].rstrip()}\n```"


def _cells(one: Mapping[str, Any], small: Mapping[str, Any], large: Mapping[str, Any]) -> Iterator[str]:
    right, sets = one["right"], one["sets"]
    interval = "" if right["low"] is None else f" ({right['low']:.0%} to {right['high']:.0%})"
    yield f"{right['value']:.1%}{interval}"
    at_random = [of["right"]["value"] for of in (small, large)]
    yield f"{at_random[0] + one['by_large'] * (at_random[1] - at_random[0]):.1%}"
    yield f"{sets[CALLS]['right']:.1%}" if CALLS in sets else "-"
    yield f"{sets[EXTRACTION]['right']:.1%} ({sets[EXTRACTION]['quality']:.1%})" if EXTRACTION in sets else "-"
    for usd in (one["usd_per_1000"], one["usd_per_1000_apart"]):
        yield "-" if usd is None else f"{usd:.4f}"
    yield f"{one['by_large']:.0%}"
    yield f"{one['escalated']:.0%}"
    yield "-" if one["mean_s"] is None else f"{one['mean_s']:.1f}"
    yield str(one["errors"])


def _price(price: object) -> str:
    if not isinstance(price, Mapping):
        return str(price)
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in price.items())
