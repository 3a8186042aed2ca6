"""The report for people, and whether the run was as it must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common.command import say_broken
from benchmarks.common.machine import machine_line
from benchmarks.common.report import read, table
from benchmarks.midstream.engine_metrics import CACHE_HITS, GENERATED, STARTED
from benchmarks.midstream.measure import REPLICAS

NEVER_MIND = 1
"""by so many tokens the usage may differ: a token that was generated and not sent is generated again"""


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report."""
    options = report["options"]
    lines = ["# A replica is killed in the middle of streams", "", machine_line(report), ""]
    lines += [
        f"{options['streams']} streams at a time from two replicas at temperature 0, half of them under a JSON"
        " schema. The API server of one replica is killed with SIGKILL in the middle of all of them. Engine:"
        f" {report['engine']}.",
        "",
    ]
    head = ["", *(f"killed after {one['kill_after']} pieces" for one in report["rounds"])]
    lines += [*table(head, list(_rows(report))), ""]
    counted = report["gateway"]
    lines += ["| after all rounds | |", "|---|--:|"]
    for name in (
        "smallfirst_continuations_total:continued",
        "smallfirst_replica_restarts_total",
        "smallfirst_requests_in_flight",
        "smallfirst_replica_in_flight",
    ):
        lines.append(f"| `{name}` | {counted.get(name, 0):g} |")
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting"):
        found = [engine[name] for engine in report["engines"] if name in engine]
        if found:
            lines.append(f"| `{name}`, each replica | {' / '.join(f'{value:g}' for value in found)} |")
    lines += ["", "## By vLLM's own metrics", ""]
    lines += [
        "Each replica's `/metrics`, read at the moments in brackets. A process's start is in seconds after the first."
    ]
    lines += [""]
    lines += table(["", "metric", *(f"replica {number}" for number in range(REPLICAS))], list(_shown(report)), left=2)
    return "\n".join([*lines, "", "Every text is in report.json.", ""])


def _shown(report: Mapping[str, Any]) -> Iterator[list[str]]:
    """Yield a row for each metric of each part; the start of a process is in seconds after that of the first."""
    parts = [*report["shown"], max(report["rounds"], key=lambda one: one["under_way"])["shown"]]
    first = min(values[0] for values in parts[-1]["metrics"][STARTED])
    for part in parts:
        name = f"{part['part']} ({', '.join(part['moments'])})"
        for metric, of_replica in part["metrics"].items():
            since = first if metric == STARTED else 0.0
            cells = (
                " → ".join("down" if value is None else f"{value - since:.0f}" for value in values)
                for values in of_replica
            )
            yield [name, f"`{metric}`", *cells]
            name = ""


def _rows(report: Mapping[str, Any]) -> Iterator[list[str]]:
    def each(value: Any) -> list[str]:
        return [str(value(one["streams"])) for one in report["rounds"]]

    def of(word: str, wanted: str) -> list[str]:
        return each(lambda rows: f"{sum(_is(word, row, before) for row, before in _pairs(report, rows, wanted))}")

    yield ["streams under way at the kill", *(str(one["under_way"]) for one in report["rounds"])]
    yield ["streams that went on at the other replica", *each(lambda rows: sum(bool(r["continued_by"]) for r in rows))]
    for kind in ("text", "JSON schema"):
        yield [f"{kind}: whole answers", *of("whole", kind)]
        yield [f"{kind}: equal to the undisturbed one", *of("equal", kind)]
    yield ["one id and one `finish_reason`, `[DONE]`", *of("one", "")]
    yield ["usage that adds up, as undisturbed", *of("usage", "")]
    yield [
        "longest silence within a stream",
        *each(lambda rows: f"{max(row['longest_silence_s'] for row in rows):.1f} s"),
    ]
    undisturbed = max(row["longest_silence_s"] for row in report["undisturbed"])
    yield ["the same, undisturbed", *[f"{undisturbed:.1f} s"] * len(report["rounds"])]


def _pairs(report: Mapping[str, Any], rows: Any, kind: str) -> Iterator[tuple[Any, Any]]:
    for row, before in zip(rows, report["undisturbed"], strict=True):
        if row["format"] == kind or not kind:
            yield row, before


def _is(word: str, row: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    if word == "whole":
        return bool(row["done"] and not row["error"] and len(row["finish_reasons"]) == 1)
    if word == "equal":
        return bool(row["text"] == before["text"] and row["finish_reasons"] == before["finish_reasons"])
    if word == "one":
        return bool(row["done"] and row["frames"] == 1 and len(row["finish_reasons"]) == 1)
    [usage], [wanted] = row["usages"] or [{}], before["usages"] or [{}]
    if not usage or usage["total_tokens"] != usage["prompt_tokens"] + usage["completion_tokens"]:
        return False
    names = ("prompt_tokens", "completion_tokens")
    return all(abs(usage[name] - wanted[name]) <= NEVER_MIND for name in names)


def check(folder: Path) -> int:
    """Print what is not as it must be; return the exit status."""
    return say_broken(faults(read(folder)))


def faults(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not as it must be."""
    for number, one in enumerate(report["rounds"], 1):
        for place, (row, before) in enumerate(_pairs(report, one["streams"], ""), 1):
            for word in ("whole", "equal", "one", "usage"):
                if not _is(word, row, before):
                    why = row["error"] or row["usages"]
                    yield f"round {number}, stream {place} ({row['format']}): not {word}: {why}"
    if not any(row["continued_by"] for one in report["rounds"] for row in one["streams"]):
        yield "no stream had to go on elsewhere"
    for part in report["shown"]:
        yield from _not_shown(part)
    for name in ("smallfirst_requests_in_flight", "smallfirst_replica_in_flight"):
        if report["gateway"].get(name):
            yield f"{name} is {report['gateway'][name]:g} at the end"


def _not_shown(part: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the metrics of a part do not show."""
    kind, metrics = part["part"].partition(":")[0], part["metrics"]
    if kind == "cancellation" and any(values[-1] != values[-2] for values in metrics[GENERATED]):
        yield "a replica generates after the client has left"
    if kind == "affinity" and sum(values[-1] > values[0] for values in metrics[CACHE_HITS]) != 1:
        yield "the turns of a conversation did not find their prefix on one replica"
    if kind == "endless output":
        before, directly, through = (sum(values) for values in zip(*metrics[GENERATED], strict=True))
        if through - directly >= directly - before:
            yield "an endless answer was not stopped early"
