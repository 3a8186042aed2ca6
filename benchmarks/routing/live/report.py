"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.routing.live.tasks import CALLS, EXTRACTION, MAX_TOKENS
from benchmarks.structured.tools import STANDIN
from benchmarks.vllm import machine

STANDS_FOR = f"`{STANDIN}` is a model of 0.5B that is charged as gpt-4.1-mini is, in whose place it stands."
HEAD = (
    *("right (95% interval)", "at random", CALLS, EXTRACTION),
    *("$", "$ apart", "by the large", "escalated", "mean s", "lost"),
)
EXPLAINED = """\
- At random: what would be right if the large model answered the same share of the calls, whichever they are.
- $: of 1,000 calls, as charged. Here both models share the cores, so the small one, paid by the hour, works longer
  while the large one works, too. Apart: each answer at what it cost while its model alone was asked.
- By the large: its answers. Escalated: those of them for which the small model was asked first, and paid.
- Mean s: of a whole answer, on the shared cores. Lost: calls without an answer."""


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: report.png lies beside it."""
    lines = ["# The cascade, live: what stays right, and what it costs", ""]
    if picture:
        lines += ["![right answers over dollars](report.png)", ""]
    return "\n".join([*lines, *_told(report), "", "All figures are in report.json.", ""])


def prices(of: Mapping[str, object]) -> Iterator[str]:
    """Yield what the dollars are, by model."""
    yield "Prices: " + "; ".join(f"`{name}` {_price(price)}" for name, price in of.items()) + "."
    yield (
        "An hour of a replica is charged by its busy time, divided among the requests in flight; hours without work are"
        " not in these dollars."
    )
    if STANDIN in of:
        yield STANDS_FOR


def _told(report: Mapping[str, Any]) -> Iterator[str]:
    ways = report["ways"]
    calls = next(iter(ways.values()))["calls"]
    yield machine.in_words(dict(report))
    yield ""
    yield (
        f"`{report['small']}` with `{report['large']}` behind it: {calls} held-out tasks, {report['learned']} others to"
        f" learn from, {report['concurrency']} at a time through the gateway, at most {MAX_TOKENS} tokens, temperature"
        f" 0. {CALLS.capitalize()}: tasks of the Berkeley Function-Calling Leaderboard that one call answers, right by"
        f" its rules. {EXTRACTION.capitalize()}: generated messages, right when every field is; in brackets the share"
        " of right fields."
    )
    yield ""
    yield f"| | {' | '.join(HEAD)} |"
    yield f"|---|{'--:|' * len(HEAD)}"
    small, large, *_ = ways.values()
    for name, one in ways.items():
        yield f"| {name} | {' | '.join(_cells(one, small, large))} |"
    yield ""
    yield EXPLAINED
    yield ""
    yield from prices(report["prices"])
    yield ""
    yield "What `smallfirst calibrate` said of the tasks to learn from:"
    yield ""
    yield f"```\n{report['calibration'].rstrip()}\n```"


def _cells(one: Mapping[str, Any], small: Mapping[str, Any], large: Mapping[str, Any]) -> Iterator[str]:
    right, sets = one["right"], one["sets"]
    within = "" if right["low"] is None else f" ({right['low']:.0%} to {right['high']:.0%})"
    yield f"{right['value']:.1%}{within}"
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
