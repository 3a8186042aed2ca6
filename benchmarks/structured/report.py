"""The report for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.structured.checker import MOST_LAG_MS
from benchmarks.structured.speed import LONG, MOST_US_PER_EVENT, MOST_US_PER_KB
from benchmarks.vllm import machine


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: report.png lies beside it."""
    lines = ["# Structured output: what was asked for, or an error", ""]
    if picture:
        lines += ["![what became of the answers](report.png)", ""]
    for name, part in report["parts"].items():
        title, told = PARTS[name]
        lines += [f"## {title}", "", machine.in_words(part), "", *told(part["figures"]), ""]
    return "\n".join([*lines, "All figures are in report.json.", ""])


def _checker(found: dict[str, Any]) -> list[str]:
    lag, wrong = found["lag"], found["disagreements"]
    lines = [
        f"{found['instances']} instances of {found['schemas']} schemas of JSONSchemaBench:"
        f" **{found['instances'] - len(wrong)} judged as jsonschema-rs judges them.** It cannot compile"
        f" the schema of {found['without_verdict']} more. Schemas refused: {len(found['refused'])}.",
        "",
        *_listed([*wrong, *found["refused"]]),
        "| ms | p50 | p99 | largest |",
        "|---|--:|--:|--:|",
        _spread("plan, the first time", found["plan_ms"]),
        _spread("plan, seen before", found["cached_plan_ms"]),
        *(_spread(f"to find out what {name} enforces", one["ms"]) for name, one in found["enforced"].items()),
        "",
        f"How long the event loop is held up (limit: {MOST_LAG_MS:g} ms for a plan), by a task that wants a turn each"
        " millisecond. The loop's own work is CPU time of its thread: other programs do not lengthen it.",
        "",
        "| ms | p99 | largest | own work, p99 | own work, largest |",
        "|---|--:|--:|--:|--:|",
        *(_lag(name, lag[key]) for name, key in LAGS.items()),
        "",
        "| schemas that decoding enforces | whole | in part | not |",
        "|---|--:|--:|--:|",
    ]
    for name, one in found["enforced"].items():
        words = [str(one["words"].get(word, 0)) for word in ("whole", "partial", "none")]
        lines.append(f"| {name} | {' | '.join(words)} |")
    return lines


LAGS = {"one plan after the other": "in_turn", "all plans at a time": "together", "no plan (the machine)": "idle"}


def _spread(name: str, one: Mapping[str, float]) -> str:
    return f"| {name} | {one['p50']:.3f} | {one['p99']:.3f} | {one['max']:.3f} |"


def _lag(name: str, one: Mapping[str, float]) -> str:
    values = " | ".join(f"{one[key]:.2f}" for key in ("wall_p99_ms", "wall_max_ms", "own_p99_ms", "own_max_ms"))
    return f"| {name} | {values} |"


def _speed(found: dict[str, Any]) -> list[str]:
    return [
        "Microseconds of CPU of the gateway's process, the least of several rounds; texts are right instances of"
        " JSONSchemaBench.",
        "",
        "| | us | limit |",
        "|---|--:|--:|",
        f"| a whole answer from {LONG} characters on ({found['long_answers']}), a KB | {_us(found['judge_us_per_kb'])}"
        f" | {MOST_US_PER_KB:g} |",
        f"| a shorter answer ({found['short_answers']}), each | {_us(found['judge_us_per_short'])} | |",
        f"| an event of a stream, five characters ({found['events']}) | {_us(found['us_per_event'])}"
        f" | {MOST_US_PER_EVENT:g} |",
        f"| a plan that was made before | {_us(found['cached_plan_us'])} | |",
    ]


def _us(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _hostile(found: dict[str, Any]) -> list[str]:
    words = sorted({word for way in found["ways"].values() for word in way})
    return [
        f"{found['cases']} generated cases of {found['kinds']} kinds, each asked in {len(found['ways'])} ways. The"
        " upstream says the same each time, so what is invalid must end as an error."
        f" **Invalid to the client: {found['invalid_to_the_client']}. Right, or certain what was meant, and refused:"
        f" {found['valid_refused']}; changed: {found['not_what_was_meant']}.**",
        "",
        "Where decoding is said to hold all of a format (`guidance`), or the client wants it (`prefix`), streams flow"
        " as they come: what would have to be repaired may end as an error there.",
        "",
        f"| | {' | '.join(words)} |",
        f"|---|{'--:|' * len(words)}",
        *(f"| {way} | {' | '.join(str(one.get(word, 0)) for word in words)} |" for way, one in found["ways"].items()),
        "",
        *_listed(f"{one['way']}: {one['case']}: {one['what']}: `{one['said']}`" for one in found["wrong"]),
    ]


def _suite(found: dict[str, Any]) -> list[str]:
    lines = [
        "Required tests. Those that need documents of another server (`remote`) are refused, as nothing is ever"
        " fetched; `formats checked` are those that want formats ignored, where answers are checked for them.",
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
        " shares no code with the gateway. **What must not be is `invalid`: an answer with status 200 that its format"
        " does not allow and that does not say that it was cut.**",
        "",
        "| | outcomes | x-smallfirst-structured |",
        "|---|---|---|",
        *(
            f"| {way} ({one['answers']}) | {_counts(one['outcomes'])} | {_counts(one['structured'])} |"
            for way, one in found["ways"].items()
        ),
        "",
        *(line for way, one in found["ways"].items() for line in _listed(f"{way}: {why}" for why in one["invalid"])),
    ]


def _tools(found: dict[str, Any]) -> list[str]:
    behind = f" `{found['ladder']}` has a stronger model behind it." if found["ladder"] else ""
    return [
        f"Tasks of the Berkeley Function-Calling Leaderboard, {found['model']}, at most {found['max_tokens']} tokens,"
        f" temperature 0.{behind} Pinned: `tool_choice` is the one function, or `required` where there are several;"
        " only tasks that want a call. Well formed: a known function, and arguments that satisfy its schema. Right: the"
        " leaderboard's rules for argument values, all calls and no other. Left alone: no call where none is wanted.",
        "",
        "| | well formed | right | left alone | escalated | dollars | outcomes | x-smallfirst-structured |",
        "|---|--:|--:|--:|--:|--:|---|---|",
        *(
            f"| {way} | {' | '.join(_share(one[key]) for key in ('well_formed', 'right', 'left_alone', 'escalated'))}"
            f" | {one['cost_usd']:.6f} ({one['answers_with_cost']} answers) | {_counts(one['outcomes'])}"
            f" | {_counts(one['structured'])} |"
            for way, one in found["ways"].items()
        ),
    ]


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
