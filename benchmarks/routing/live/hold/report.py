"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.common.machine import machine_line
from benchmarks.common.report import table
from benchmarks.routing.live.hold.texts import MAX_TOKENS
from benchmarks.routing.live.report import prices

HEAD = (
    *("`hold`", "`min_confidence`", "right fields (95% interval)", "by the large", "escalated", "$", "$ apart"),
    *("first token: median", "p90", "end: median", "p90", "lost"),
)
EARLY = (
    *("`min_confidence`", "by the large at once", "held to the end", "released early"),
    *("of these: wrong", "discarded by `whole`", "wrong and discarded"),
    *("first token: median", "by `whole`"),
)
EXPLAINED = """\
- `none`: a stream is forwarded at once, and the cascade only chooses the model. `whole`: a stream is held to its end,
  and replaced by the large model's if its confidence is too low. `first`: a stream is held until its beginning is
  accepted.
- `min_confidence`: of the requests. It is not allowed with `none`, so the model is chosen with the route's, 0.8.
- Right fields: the share of the fields that are given with their value. By the large: the share of its answers.
  Escalated: the share for which the small model was asked first.
- $: the charged dollars of 1,000 streams, on shared cores. Apart: each answer has the price that it had when its model
  ran alone.
- Seconds: from the request to the first content and to the end, measured by the client. Lost: streams without an
  answer."""


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: there is a report.png."""
    lines = ["# Streams of a cascade: what `routing.hold` costs and saves", ""]
    if picture:
        lines += ["![seconds to the first token by hold](report.png)", ""]
    return "\n".join([*lines, *_body(report), "", "All figures, and each stream, are in report.json.", ""])


def _body(report: Mapping[str, Any]) -> Iterator[str]:
    variants, streams = report["ways"], len(report["ways"][0]["streams"])
    yield machine_line(report)
    yield ""
    yield (
        f"`{report['small']}` with `{report['large']}` as fallback: {streams} held-out messages, whose fields are"
        f" requested in plain text, one per line, and {report['learned']} other messages for calibration."
        f" {report['concurrency']} streams at a time through the gateway, all variants in turns, at most"
        f" {MAX_TOKENS} tokens, temperature 0. A beginning has {report['beginning']} tokens."
    )
    yield ""
    yield from table(HEAD, [*_alone(report["alone"]), *(_cells(variant) for variant in variants)], left=2)
    yield ""
    yield EXPLAINED
    yield ""
    yield "The streams with `hold: first`:"
    yield ""
    yield from table(EARLY, [_early(one) for one in report["early"]])
    yield ""
    yield (
        f"Of {streams} streams, some went to the large model at once, because the small model's answer was not worth"
        " its price; these are never held. The others were held to their end, or released early. Wrong: not every field"
        " is right. Discarded by `whole`: the confidence of the same task at the same threshold was too low at its end;"
        " the wrong ones among these are the price of not waiting. Seconds: of the released streams, and of the same"
        " tasks with `whole`."
    )
    yield ""
    yield from prices(report["prices"])
    yield ""
    yield "Output of `smallfirst calibrate`, for whole answers:"
    yield ""
    yield f"```\n{report['calibration'].rstrip()}\n```"


def _alone(alone: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    """Yield each model alone. It was not streamed and had another load, so its seconds are not comparable."""
    for name, one in alone.items():
        yield [f"`{name}` alone", "", *_of_answers(one), *"----", str(one["errors"])]


def _cells(variant: Mapping[str, Any]) -> list[str]:
    seconds = [_seconds(variant[name], which) for name in ("first_s", "end_s") for which in ("median", "p90")]
    least = "" if variant["min_confidence"] is None else f"{variant['min_confidence']:g}"
    return [f"`{variant['hold']}`", least, *_of_answers(variant), *seconds, str(variant["errors"])]


def _of_answers(one: Mapping[str, Any]) -> Iterator[str]:
    fields = one["fields"]
    interval = "" if fields["low"] is None else f" ({fields['low']:.0%} to {fields['high']:.0%})"
    yield f"{fields['value']:.1%}{interval}"
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
