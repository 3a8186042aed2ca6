"""The report for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.common.machine import machine_line
from benchmarks.common.report import table
from benchmarks.structured.checker import MOST_LAG_MS
from benchmarks.structured.speed import LONG, MOST_US_PER_EVENT, MOST_US_PER_KB


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: there is a report.png."""
    lines = ["# Structured output: what was asked for, or an error", ""]
    if picture:
        lines += ["![the outcomes of the answers](report.png)", ""]
    for name, part in report["parts"].items():
        title, lines_of = PARTS[name]
        lines += [f"## {title}", "", machine_line(part), "", *lines_of(part["figures"]), ""]
    return "\n".join([*lines, "All figures are in report.json.", ""])


def _checker(found: dict[str, Any]) -> list[str]:
    lag, wrong = found["lag"], found["disagreements"]
    return [
        f"{found['instances']} instances of {found['schemas']} schemas of JSONSchemaBench:"
        f" **{found['instances'] - len(wrong)} have the same verdict as from jsonschema-rs.** It cannot compile the"
        f" schemas of {found['without_verdict']} more instances. Schemas refused: {len(found['refused'])}.",
        "",
        *_listed([*wrong, *found["refused"]]),
        *table(("ms", "p50", "p99", "maximum"), _plan_times(found)),
        "",
        f"How long the event loop is blocked (limit: {MOST_LAG_MS:g} ms for a plan), measured by a task that asks for a"
        " turn every millisecond. The loop's own work is CPU time of its thread, which other programs do not lengthen.",
        "",
        *table(
            ("ms", "p99", "maximum", "own work, p99", "own work, maximum"),
            [(name, *(f"{lag[key][figure]:.2f}" for figure in LAG_FIGURES)) for name, key in LAGS.items()],
        ),
        "",
        *table(
            ("schemas that decoding enforces", "completely", "partly", "not"),
            [
                (name, *(str(one["words"].get(word, 0)) for word in ("whole", "partial", "none")))
                for name, one in found["enforced"].items()
            ],
        ),
    ]


LAGS = {"one plan after the other": "in_turn", "all plans at once": "together", "no plan (the machine)": "idle"}
LAG_FIGURES = ("wall_p99_ms", "wall_max_ms", "own_p99_ms", "own_max_ms")


def _plan_times(found: dict[str, Any]) -> list[list[str]]:
    times = {"plan, new schema": found["plan_ms"], "plan, known schema": found["cached_plan_ms"]}
    times |= {f"to find out what {name} enforces": one["ms"] for name, one in found["enforced"].items()}
    return [[name, *(f"{one[key]:.3f}" for key in ("p50", "p99", "max"))] for name, one in times.items()]


def _speed(found: dict[str, Any]) -> list[str]:
    return [
        "CPU microseconds of the gateway's process, the least of several rounds. The texts are valid instances of"
        " JSONSchemaBench.",
        "",
        *table(
            ("", "us", "limit"),
            [
                (
                    f"a KB of whole answers of at least {LONG} characters ({found['long_answers']})",
                    _us(found["judge_us_per_kb"]),
                    f"{MOST_US_PER_KB:g}",
                ),
                (f"a shorter whole answer ({found['short_answers']})", _us(found["judge_us_per_short"]), ""),
                (
                    f"an event of a stream, five characters ({found['events']})",
                    _us(found["us_per_event"]),
                    f"{MOST_US_PER_EVENT:g}",
                ),
                ("a plan that was made before", _us(found["cached_plan_us"]), ""),
            ],
        ),
    ]


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _hostile(found: dict[str, Any]) -> list[str]:
    words = sorted({word for counts in found["ways"].values() for word in counts})
    return [
        f"{found['cases']} generated cases of {found['kinds']} kinds, each asked in {len(found['ways'])} variants. The"
        " upstream repeats its answer on every retry, so an invalid answer must end as an error."
        f" **Invalid answers that reached the client: {found['invalid_to_the_client']}. Valid or repairable answers"
        f" that were refused: {found['valid_refused']}; that were changed: {found['not_what_was_meant']}.**",
        "",
        "If decoding enforces the whole format (`guidance`), or the client asks for it (`prefix`), streams are not"
        " held. A repairable answer may end as an error there.",
        "",
        *table(
            ("", *words),
            [(name, *(str(one.get(word, 0)) for word in words)) for name, one in found["ways"].items()],
        ),
        "",
        *_listed(f"{one['way']}: {one['case']}: {one['what']}: `{one['said']}`" for one in found["wrong"]),
    ]


def _suite(found: dict[str, Any]) -> list[str]:
    lines = [
        "Required tests. Tests that need documents of another server (`remote`) are refused, because the gateway never"
        " fetches any. `formats checked` are tests that expect formats to be ignored; the gateway checks them.",
        "",
    ]
    for draft, one in found.items():
        counts = ", ".join(f"{word} {count}" for word, count in one["counts"].items())
        lines += [f"**{draft}: {counts}**", "", *_listed([*one["wrong"], *one["refused"]])]
        if one["remote"]:
            lines += [f"Remote: {'; '.join(one['remote'])}.", ""]
    return lines


def _model(found: dict[str, Any]) -> list[str]:
    return [
        f"{found['model']}, one answer to each schema, at most {found['max_tokens']} tokens, temperature 0,"
        f" {found['concurrency']} at a time: the same requests to vLLM itself (`direct`) and to the gateway. The judge"
        " shares no code with the gateway. **The gateway must never give an `invalid` answer: one with status 200 that"
        " violates its format and is not marked as cut.**",
        "",
        *table(
            ("", "outcomes", "x-smallfirst-structured"),
            [
                (f"{name} ({one['answers']})", _counts(one["outcomes"]), _counts(one["structured"]))
                for name, one in found["ways"].items()
            ],
            left=3,
        ),
        "",
        *(line for name, one in found["ways"].items() for line in _listed(f"{name}: {why}" for why in one["invalid"])),
    ]


def _tools(found: dict[str, Any]) -> list[str]:
    behind = f" `{found['ladder']}` has a stronger model as fallback." if found["ladder"] else ""
    return [
        f"Tasks of the Berkeley Function-Calling Leaderboard, {found['model']}, at most {found['max_tokens']} tokens,"
        f" temperature 0.{behind} Pinned: `tool_choice` is the only function, or `required` if there are several;"
        " these are only tasks that need a call. Well formed: a known function with arguments that satisfy its schema."
        " Right: exactly the expected calls, by the leaderboard's rules for argument values. Left alone: no call if"
        " none is expected.",
        "",
        *table(
            ("", *SHARES.values(), "dollars", "outcomes", "x-smallfirst-structured"),
            [
                (
                    name,
                    *(_share(one[key]) for key in SHARES),
                    f"{one['cost_usd']:.6f} ({one['answers_with_cost']} answers)",
                    _counts(one["outcomes"]),
                    _counts(one["structured"]),
                )
                for name, one in found["ways"].items()
            ],
        ),
    ]


SHARES = {"well_formed": "well formed", "right": "right", "left_alone": "left alone", "escalated": "escalated"}


def _share(one: Mapping[str, int]) -> str:
    return f"{one['yes']} of {one['of']}" if one["of"] else "-"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{word or 'none'} {count}" for word, count in counts.items())


def _listed(lines: Iterable[str]) -> list[str]:
    listed = [f"- {line}" for line in lines]
    return [*listed, ""] if listed else []


PARTS: Mapping[str, tuple[str, Callable[[dict[str, Any]], list[str]]]] = {
    "checker": ("The checker alone", _checker),
    "speed": ("What checking costs", _speed),
    "hostile": ("A hostile upstream", _hostile),
    "suite": ("JSON-Schema-Test-Suite", _suite),
    "model": ("A real small model", _model),
    "tools": ("Function calling", _tools),
}
