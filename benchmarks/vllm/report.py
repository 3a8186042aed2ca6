"""The report of a run: JSON with every raw round, and Markdown for people."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.common import stats
from benchmarks.common.background_load import NOISY_CORES
from benchmarks.common.machine import machine_line
from benchmarks.common.report import table
from benchmarks.common.stats import FEWEST, Estimate, bootstrap
from benchmarks.vllm.samples import (
    ABBA,
    Pair,
    Round,
    Sample,
    Workload,
    added_ms,
    busiest_background,
    by_workload,
    direct_against_itself,
    ratio,
    repeated_ms,
    speed,
)

RATIO_GOAL = 0.97
ADDED_MS_GOAL = 2.0
WORDS = {"met": "met", "missed": "missed", "open": "not decided"}
HEAD = ("load", "direct tok/s", "gateway tok/s", "gateway / direct (95%)", "direct against itself", "goal")


def build(about: dict[str, Any], rounds: Sequence[Round], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the whole report; `about` says what was run, where and how."""
    return {
        "benchmark": "vllm",
        **about,
        "throughput": [throughput(group) for group in by_workload(rounds)],
        "first_token": first_token(pairs) if pairs else None,
    }


def throughput(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return the gateway's share of the direct throughput in the rounds of one workload."""
    estimate = bootstrap(rounds, ratio)
    samples = {target: [sample for one in rounds for sample in one.of(target)] for target in ABBA[:2]}
    return {
        "work": asdict(rounds[0].workload),
        "ratio": asdict(estimate),
        "target": RATIO_GOAL,
        "verdict": stats.at_least(estimate, RATIO_GOAL),
        "direct_tokens_per_s": speed(samples["direct"]),
        "gateway_tokens_per_s": speed(samples["gateway"]),
        "direct_against_itself": direct_against_itself(rounds),
        "prompt_tokens": {name: sorted({sample.prompt_tokens for sample in of}) for name, of in samples.items()},
        "others_busy_most": busiest_background(sample for of in samples.values() for sample in of),
        "client_busy_most": max(sample.client_busy for of in samples.values() for sample in of),
        "rounds": [raw_samples(one) for one in rounds],
    }


def first_token(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the time that the gateway adds to the first token."""
    added = bootstrap(pairs, added_ms)
    repeated = repeated_ms(pairs)
    return {
        "added_ms": asdict(added),
        "target_ms": ADDED_MS_GOAL,
        "verdict": stats.at_most(added, ADDED_MS_GOAL),
        "direct_median_ms": statistics.median(pair.direct_ms for pair in pairs),
        "gateway_median_ms": statistics.median(pair.gateway_ms for pair in pairs),
        "same_side_twice_ms": asdict(bootstrap(repeated, statistics.median)) if repeated else None,
        "pairs": [asdict(pair) for pair in pairs],
    }


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report for people; `picture`: there is a report.png."""
    lines = ["# What the gateway costs in front of vLLM", "", machine_line(report), ""]
    lines += [f"- {line}" for line in report["setting"]]
    lines += ["", "Parameters: " + ", ".join(f"{k} {_plain(v)}" for k, v in report["parameters"].items()), ""]
    lines += ["## Throughput", "", f"Goal: at least {RATIO_GOAL} of vLLM's own output tokens per second.", ""]
    lines += [*table(HEAD, [_row(entry) for entry in report["throughput"]], left=len(HEAD)), ""]
    lines += [_how_throughput(report), ""]
    if found := report["first_token"]:
        lines += _first_token_text(found)
    if picture:
        lines += ["![both as a picture](report.png)", ""]
    return "\n".join([*lines, "Every raw round and pair is in report.json.", ""])


def _row(entry: dict[str, Any]) -> list[str]:
    noise = entry["direct_against_itself"]
    return [
        str(Workload(**entry["work"])),
        f"{entry['direct_tokens_per_s']:.1f}",
        f"{entry['gateway_tokens_per_s']:.1f}",
        Estimate(**entry["ratio"]).text(3),
        f"{min(noise):.3f} to {max(noise):.3f}",
        WORDS[entry["verdict"]],
    ]


def _how_throughput(report: dict[str, Any]) -> str:
    busy = max(entry["client_busy_most"] for entry in report["throughput"])
    noise = max(entry["others_busy_most"] or 0.0 for entry in report["throughput"])
    rounds = len(report["throughput"][0]["rounds"])
    narrow = " With so few rounds the interval is somewhat too narrow." if FEWEST <= rounds < 10 else ""
    return (
        f"Each of the {rounds} rounds is direct, gateway, gateway, direct; every second round is in the opposite order."
        " The ratio is all tokens over all seconds. Its interval is a bootstrap over at least three rounds. The goal is"
        f" met or missed if the whole interval is on one side of it.{narrow} Direct against itself is the second direct"
        " sample of each round over the first: the noise of the machine without any gateway. The load client used at"
        f" most {busy:.0%} of one core.{background_warning(noise)}"
    )


def background_warning(cores: float) -> str:
    """Return a warning if other programs used this many cores or more in a sample, which disturbs it."""
    if cores <= NOISY_CORES:
        return ""
    return f" **Other programs used up to {cores:.1f} cores meanwhile: measure again on a quiet machine.**"


def _first_token_text(found: dict[str, Any]) -> list[str]:
    twice = found["same_side_twice_ms"]
    noise = (
        f" Two successive requests to the same target differ by {Estimate(**twice).text(2, '+')} ms." if twice else ""
    )
    return [
        "## Time to the first token",
        "",
        f"Goal: at most {ADDED_MS_GOAL:g} ms more."
        f" **The gateway adds {Estimate(**found['added_ms']).text(2, '+')} ms** (median and 95% interval of"
        f" {len(found['pairs'])} paired differences): {WORDS[found['verdict']]}.",
        "",
        f"Medians: direct {found['direct_median_ms']:.1f} ms, gateway {found['gateway_median_ms']:.1f} ms."
        f" A pair is two requests in a row, on connections that are already open. Their prompts differ only in the"
        f" first digits. The target that goes first alternates.{noise}",
        "",
    ]


def raw_samples(one: Round) -> list[dict[str, Any]]:
    """Return the samples of a round for JSON, with times rounded to a thousandth of a millisecond."""
    return [asdict(_rounded(sample)) | {"tokens_per_s": round(sample.tokens_per_s, 3)} for sample in one.samples]


def _rounded(sample: Sample) -> Sample:
    first, gap = (tuple(round(value, 3) for value in values) for values in (sample.first_ms, sample.gap_ms))
    return replace(sample, first_ms=first, gap_ms=gap)


def _plain(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
