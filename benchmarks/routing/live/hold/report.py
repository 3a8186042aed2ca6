"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.routing.live.hold.texts import MAX_TOKENS
from benchmarks.routing.live.report import prices
from benchmarks.vllm import machine

HEAD = (
    *("`hold`", "`min_confidence`", "right fields (95% interval)", "by the large", "escalated", "$", "$ apart"),
    *("first token: median", "p90", "end: median", "p90", "lost"),
)
EARLY = (
    *("`min_confidence`", "by the large at once", "held to the end", "let go early"),
    *("of these: wrong", "thrown away by `whole`", "wrong and thrown away"),
    *("first token: median", "by `whole`"),
)
EXPLAINED = """\
- `none`: a stream flows at once, and the cascade only chooses whom to ask. `whole`: it waits for its end, and for the
  large model's answer where that is not sure enough. `first`: it flows from the beginning that is sure enough on.
- `min_confidence`: of the requests. `none` cannot demand any, so whom to ask goes by the route's, 0.8.
- Right fields: share of the fields that are told with their value. By the large: its answers. Escalated: those for
  which the small model was asked first.
- $: of 1,000 streams, as charged, on shared cores. Apart: each answer at what it cost while its model alone was asked.
- Seconds: from the request to the first content and to the end, as the client saw them. Lost: no answer."""


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: report.png lies beside it."""
    lines = ["# Streams of a cascade: what `routing.hold` costs and saves", ""]
    if picture:
        lines += ["![seconds to the first token by hold](report.png)", ""]
    return "\n".join([*lines, *_told(report), "", "All figures, and each stream, are in report.json.", ""])


def _told(report: Mapping[str, Any]) -> Iterator[str]:
    ways, streams = report["ways"], len(report["ways"][0]["streams"])
    yield machine.in_words(dict(report))
    yield ""
    yield (
        f"`{report['small']}` with `{report['large']}` behind it: {streams} held-out messages, of which the fields are"
        f" asked for in plain text, a line each; {report['learned']} others to learn from. {report['concurrency']}"
        f" streams at a time through the gateway, all ways in turns, at most {MAX_TOKENS} tokens, temperature 0; a"
        f" beginning is of {report['beginning']} tokens."
    )
    yield ""
    yield from _table(HEAD, [*_alone(report["alone"]), *(_cells(way) for way in ways)], texts=2)
    yield ""
    yield EXPLAINED
    yield ""
    yield "Of the streams with `hold: first`:"
    yield ""
    yield from _table(EARLY, [_early(one) for one in report["early"]], texts=1)
    yield ""
    yield (
        f"Of {streams}: by the large at once, as looking at the small model's answer was not worth it, and so never"
        " held; the others held to their end, or let go early, by their beginning. Wrong: not every field is right."
        " Thrown away by `whole`: the same tasks at the same threshold, whose answers were not sure enough at their"
        " end; the wrong ones among them are what not waiting has cost. Seconds: of those that were let go, and of the"
        " same tasks under `whole`."
    )
    yield ""
    yield from prices(report["prices"])
    yield ""
    yield "What `smallfirst calibrate` said of the messages to learn from (of whole answers):"
    yield ""
    yield f"```\n{report['calibration'].rstrip()}\n```"


def _table(head: tuple[str, ...], rows: list[list[str]], *, texts: int) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * texts}{'--:|' * (len(head) - texts)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _alone(alone: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield what each model did alone, unstreamed and at another load: its seconds are not to be compared."""
    for name, one in alone.items():
        yield [f"`{name}` alone", "", *_of_answers(one), *"----", str(one["errors"])]


def _cells(way: Mapping[str, Any]) -> list[str]:
    told = [_seconds(way[name], which) for name in ("first_s", "end_s") for which in ("median", "p90")]
    least = "" if way["min_confidence"] is None else f"{way['min_confidence']:g}"
    return [f"`{way['hold']}`", least, *_of_answers(way), *told, str(way["errors"])]


def _of_answers(one: Mapping[str, Any]) -> Iterator[str]:
    fields = one["fields"]
    within = "" if fields["low"] is None else f" ({fields['low']:.0%} to {fields['high']:.0%})"
    yield f"{fields['value']:.1%}{within}"
    yield f"{one['by_large']:.0%}"
    yield f"{one['escalated']:.0%}"
    for usd in (one["usd_per_1000"], one["usd_per_1000_apart"]):
        yield "-" if usd is None else f"{usd:.4f}"


def _early(one: Mapping[str, Any]) -> list[str]:
    counts = (
        str(one[name]) for name in ("skipped", "held", "streams", "wrong", "thrown_away", "wrong_and_thrown_away")
    )
    seconds = (_seconds(one[name], "median") for name in ("first_s", "first_s_whole"))
    return [f"{one['min_confidence']:g}", *counts, *seconds]


def _seconds(spread: Mapping[str, float] | None, which: str) -> str:
    return "-" if spread is None else f"{spread[which]:.2f} s"
