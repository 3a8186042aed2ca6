"""The report for people, and whether the run was as it must be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.affinity.measure import BLOCK_TOKENS
from benchmarks.common.command import say_broken
from benchmarks.common.machine import machine_line
from benchmarks.common.report import read, table
from benchmarks.common.stats import percentile
from router.replicas.balance import LOAD_FACTOR


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: there is a report.png."""
    options, found = report["options"], report["balances"]
    lines = ["# Conversations over replicas, with and without prefix affinity", "", machine_line(report), ""]
    lines += [
        f"{options['conversations']} conversations of {options['turns']} turns with {options['agents']} system prompts,"
        f" {options['concurrency']} at a time, with pauses of {options['think_s']:g} s on average before each turn."
        f" The gateway has {options['workers']} process(es) and {options['replicas']} vLLM replicas of SmolLM2-135M,"
        " which are fresh for each way to balance; the prompts are the same. A block of their caches has"
        f" {BLOCK_TOKENS} tokens."
        " Hits, requests and load are the replicas' own metrics.",
        "",
    ]
    rows = [
        ["prefix cache hit rate (tokens)", *_each(found, lambda one: f"{one['hit_rate']:.1%}")],
        ["later turns that found all of the earlier prompt", *_each(found, lambda one: f"{found_earlier(one):.0%}")],
        ["prompt tokens that were computed", *_each(found, lambda one: f"{_computed(one):,.0f}")],
        ["requests by replica", *_each(found, lambda one: _joined(one["requests"], "{:.0f}"))],
        ["in flight by replica, mean", *_each(found, lambda one: _joined(one["mean_in_flight"], "{:.1f}"))],
        ["in flight by replica, at most", *_each(found, lambda one: _joined(one["most_in_flight"], "{:.0f}"))],
        ["time of a turn: median, p95", *_each(found, lambda one: " / ".join(_times(one)))],
        ["the whole run", *_each(found, lambda one: f"{one['seconds']:.0f} s")],
    ]
    lines += [*table(["", *(f"`{name}`" for name in found)], rows), ""]
    by_turn = [
        [str(turn + 1), *_each(found, lambda one, turn=turn: f"{one['cached_by_turn'][turn]:.0%}")]
        for turn in range(options["turns"])
    ]
    lines += ["Share of the prompt that was cached, by turn:", ""]
    lines += [*table(["turn", *(f"`{name}`" for name in found)], by_turn), ""]
    if picture:
        lines += ["![cached share by turn, and load](report.png)", ""]
    return "\n".join([*lines, "Every turn and sample is in report.json.", ""])


def check(folder: Path) -> int:
    """Print what is not as it must be; return the exit status."""
    return say_broken(faults(read(folder)))


def faults(report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is not as it must be."""
    found, options = report["balances"], report["options"]
    without, with_affinity = found["least_loaded"], found["prefix"]
    if with_affinity["hit_rate"] <= without["hit_rate"]:
        yield f"the hit rate is {with_affinity['hit_rate']:.1%} with affinity and {without['hit_rate']:.1%} without"
    asked = options["conversations"] * options["turns"]
    for name, one in found.items():
        if sum(one["requests"]) != asked:
            yield f"{name}: the replicas answered {sum(one['requests']):.0f} requests of {asked}"
        if max(one["requests"]) > LOAD_FACTOR * asked / options["replicas"]:
            yield f"{name}: one replica answered {max(one['requests']):.0f} of {asked} requests"


def found_earlier(one: Mapping[str, Any]) -> float:
    """Return the share of the turns after the first one whose replica had cached all of the prompt before."""
    prompts = {(turn["conversation"], turn["turn"]): turn["prompt"] for turn in one["turns"]}
    later = [turn for turn in one["turns"] if turn["turn"] > 1]
    whole = (prompts[turn["conversation"], turn["turn"] - 1] // BLOCK_TOKENS * BLOCK_TOKENS for turn in later)
    return sum(bool(turn["cached"] >= tokens) for turn, tokens in zip(later, whole, strict=True)) / len(later)


def _each(found: Mapping[str, Any], show: Any) -> list[str]:
    return [show(one) for one in found.values()]


def _computed(one: Mapping[str, Any]) -> float:
    return float(sum(one["queries"]) - sum(one["hits"]))


def _joined(values: Sequence[float], form: str) -> str:
    return " + ".join(form.format(value) for value in values)


def _times(one: Mapping[str, Any]) -> Iterator[str]:
    times = [turn["seconds"] for turn in one["turns"]]
    for share in (0.5, 0.95):
        yield f"{percentile(times, share):.1f} s"
