"""The report of a run: JSON with every raw round, and Markdown for people."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from benchmarks.vllm import machine, stats
from benchmarks.vllm.legs import ABBA, Leg, Pair, Round, Work, added_ms, itself, most_others, ratio, repeated_ms, speed
from benchmarks.vllm.others import NOISY
from benchmarks.vllm.stats import FEWEST, Estimate, bootstrap

RATIO_TARGET = 0.97
ADDED_MS_TARGET = 2.0
WORDS = {"met": "met", "missed": "missed", "open": "not decided"}


def build(about: dict[str, Any], rounds: Sequence[Round], pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return the whole report; `about` holds what was run, where and how."""
    return {
        "benchmark": "vllm",
        **about,
        "throughput": [throughput(mine) for mine in by_work(rounds)],
        "first_token": first_token(pairs) if pairs else None,
    }


def by_work(rounds: Sequence[Round]) -> list[list[Round]]:
    """Return the rounds, those of the same work together, in the order in which they came first."""
    groups: dict[Work, list[Round]] = {}
    for one in rounds:
        groups.setdefault(one.work, []).append(one)
    return list(groups.values())


def throughput(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return what the rounds of one work say of the gateway's share of the direct throughput."""
    estimate = bootstrap(rounds, ratio)
    legs = {side: [leg for one in rounds for leg in one.of(side)] for side in ABBA[:2]}
    return {
        "work": asdict(rounds[0].work),
        "ratio": asdict(estimate),
        "target": RATIO_TARGET,
        "verdict": stats.at_least(estimate, RATIO_TARGET),
        "direct_tokens_per_s": speed(legs["direct"]),
        "gateway_tokens_per_s": speed(legs["gateway"]),
        "direct_against_itself": itself(rounds),
        "prompt_tokens": {side: sorted({leg.prompt_tokens for leg in mine}) for side, mine in legs.items()},
        "others_busy_most": most_others(leg for mine in legs.values() for leg in mine),
        "client_busy_most": max(leg.client_busy for mine in legs.values() for leg in mine),
        "rounds": [plain_legs(one) for one in rounds],
    }


def first_token(pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return what the pairs say of the time that the gateway adds to the first token."""
    added = bootstrap(pairs, added_ms)
    repeated = repeated_ms(pairs)
    return {
        "added_ms": asdict(added),
        "target_ms": ADDED_MS_TARGET,
        "verdict": stats.at_most(added, ADDED_MS_TARGET),
        "direct_median_ms": statistics.median(pair.direct_ms for pair in pairs),
        "gateway_median_ms": statistics.median(pair.gateway_ms for pair in pairs),
        "same_side_twice_ms": asdict(bootstrap(repeated, statistics.median)) if repeated else None,
        "pairs": [asdict(pair) for pair in pairs],
    }


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report for people; `picture`: report.png lies beside it."""
    lines = ["# What the gateway takes away from vLLM", "", machine.in_words(report), ""]
    lines += [f"- {line}" for line in report["setting"]]
    lines += ["", "Parameters: " + ", ".join(f"{k} {_plain(v)}" for k, v in report["parameters"].items()), ""]
    lines += ["## Throughput", "", f"Target: at least {RATIO_TARGET} of vLLM's own output tokens a second.", ""]
    lines += ["| load | direct tok/s | gateway tok/s | gateway / direct (95%) | direct against itself | target |"]
    lines += ["|---|---|---|---|---|---|"]
    for entry in report["throughput"]:
        noise = entry["direct_against_itself"]
        lines += [
            f"| {Work(**entry['work'])} | {entry['direct_tokens_per_s']:.1f} | {entry['gateway_tokens_per_s']:.1f} "
            f"| {Estimate(**entry['ratio']).text(3)} | {min(noise):.3f} to {max(noise):.3f} "
            f"| {WORDS[entry['verdict']]} |"
        ]
    lines += ["", _how_throughput(report), ""]
    if found := report["first_token"]:
        lines += _first_token_text(found)
    if picture:
        lines += ["![both as a picture](report.png)", ""]
    return "\n".join([*lines, "Every raw round and pair is in report.json.", ""])


def _how_throughput(report: dict[str, Any]) -> str:
    busy = max(entry["client_busy_most"] for entry in report["throughput"])
    noise = max(entry["others_busy_most"] or 0.0 for entry in report["throughput"])
    rounds = len(report["throughput"][0]["rounds"])
    narrow = " With so few rounds the interval is somewhat too narrow." if FEWEST <= rounds < 10 else ""
    return (
        f"Each of the {rounds} rounds is direct, gateway, gateway, direct, every second one the other way round."
        " The ratio is that of all tokens over all seconds; its interval is a bootstrap over rounds, of three at least,"
        f" and the target is met or missed when all of the interval is on one side of it.{narrow} Direct against"
        " itself is the direct side's second leg over its first, of each round: what the machine does without any"
        f" gateway. The load client took at most {busy:.0%} of one core.{disturbed(noise)}"
    )


def disturbed(cores: float) -> str:
    """Return a warning where other programs took so many cores in the leg that they disturbed most."""
    if cores <= NOISY:
        return ""
    return f" **Other programs took up to {cores:.1f} cores meanwhile: measure again on a quiet machine.**"


def _first_token_text(found: dict[str, Any]) -> list[str]:
    twice = found["same_side_twice_ms"]
    control = f" Two requests in a row to the same side differ by {Estimate(**twice).text(2, '+')} ms." if twice else ""
    return [
        "## Time to the first token",
        "",
        f"Aim: at most {ADDED_MS_TARGET:g} ms more."
        f" **The gateway adds {Estimate(**found['added_ms']).text(2, '+')} ms** (median and 95% interval of"
        f" {len(found['pairs'])} paired differences): {WORDS[found['verdict']]}.",
        "",
        f"Medians: direct {found['direct_median_ms']:.1f} ms, gateway {found['gateway_median_ms']:.1f} ms."
        f" Each pair is the same prompt but for its first digits, one request right after the other, on connections"
        f" that are open already; which side goes first alternates.{control}",
        "",
    ]


def plain_legs(one: Round) -> list[dict[str, Any]]:
    """Return the legs of a round for JSON, times in thousandths of a millisecond."""
    return [asdict(_rounded(leg)) | {"tokens_per_s": round(leg.tokens_per_s, 3)} for leg in one.legs]


def _rounded(leg: Leg) -> Leg:
    first, gap = (tuple(round(value, 3) for value in values) for values in (leg.first_ms, leg.gap_ms))
    return replace(leg, first_ms=first, gap_ms=gap)


def _plain(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
