"""Summarises the rounds, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from benchmarks.common.machine import machine_line
from benchmarks.common.report import table
from benchmarks.overhead.measure import Sample
from benchmarks.overhead.scenarios import HEADLINE, LATENCY, SCENARIOS, WORKERS
from benchmarks.overhead.startup import HEAVY

DIRECT = "direct"
REFERENCE = "passthrough"
HEAD = (
    *("scenario", "gateway", "CPU us/request", "x passthrough", "requests/s", "p50 ms", "p99 ms"),
    *("first event p50 ms", "added p50 ms", "added p99 ms"),
)

Results = Mapping[str, Mapping[str, Sequence[Sample]]]
"""scenario -> target -> rounds; all targets of a scenario have the same number of rounds"""


@dataclass(frozen=True, slots=True)
class Spread:
    """The median, the lowest and the highest value over the rounds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise the values of all rounds."""
        return cls(median(values), min(values), max(values))

    def show(self, digits: int = 0) -> str:
        """Return `median (low-high)`."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}-{self.high:,.{digits}f})"


@dataclass(frozen=True, slots=True)
class Figures:
    """The summary of all rounds of one target in one scenario."""

    per_s: Spread
    p50_ms: Spread
    p99_ms: Spread
    first_p50_ms: Spread | None
    cpu_us: Spread | None
    cpu_ratio: Spread | None
    """CPU divided by the reference's in the same round"""
    added_p50_ms: Spread | None
    """median latency above the direct one in the same round"""
    added_p99_ms: Spread | None


def figures(rounds: Mapping[str, Sequence[Sample]], target: str) -> Figures:
    """Summarise one target of one scenario; each round is compared with the same round of the others."""
    own = rounds[target]
    cpus = [sample.cpu_us for sample in own if sample.cpu_us is not None]
    firsts = [sample.first_p50_ms for sample in own if sample.first_p50_ms is not None]
    reference = [sample.cpu_us for sample in rounds.get(REFERENCE, ()) if sample.cpu_us is not None]
    direct = rounds.get(DIRECT) if target != DIRECT else None
    return Figures(
        per_s=Spread.of([sample.per_s for sample in own]),
        p50_ms=Spread.of([sample.p50_ms for sample in own]),
        p99_ms=Spread.of([sample.p99_ms for sample in own]),
        first_p50_ms=Spread.of(firsts) if firsts else None,
        cpu_us=Spread.of(cpus) if cpus else None,
        cpu_ratio=Spread.of([mine / its for mine, its in zip(cpus, reference, strict=True)])
        if cpus and reference
        else None,
        added_p50_ms=Spread.of([mine.p50_ms - its.p50_ms for mine, its in zip(own, direct, strict=True)])
        if direct
        else None,
        added_p99_ms=Spread.of([mine.p99_ms - its.p99_ms for mine, its in zip(own, direct, strict=True)])
        if direct
        else None,
    )


def as_json(results: Results, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole report: facts about the run, and each scenario with its settings, rounds and summaries."""
    return {**about, "scenarios": [_scenario(name, rounds) for name, rounds in results.items()]}


def as_markdown(results: Results, about: Mapping[str, Any]) -> str:
    """Return the tables."""
    lines = ["# What a gateway costs per request", "", machine_line(about), ""]
    lines += ["Medians over the rounds (lowest-highest). CPU is user and system time of all processes of the gateway."]
    lines += ["`direct` is the upstream without a gateway. Added latency is above `direct` in the same round.", ""]
    if "starts" in about:
        lines += [_startup(about["starts"]), ""]
    if headline := [name for name in (*HEADLINE, *LATENCY) if name in results]:
        lines += _headline(results, headline)
    rows = [_row(name, target, figures(rounds, target)) for name, rounds in results.items() for target in rounds]
    return "\n".join([*lines, "## All scenarios", "", *table(HEAD, rows, left=len(HEAD)), ""])


def _startup(starts: Mapping[str, Any]) -> str:
    seconds = {name: Spread.of(taken) for name, taken in starts["seconds"].items()}
    heavy = ", ".join(starts["heavy_modules"]) or "none"
    return (
        f"Time from the command to the first 200 of `/health`: `smallfirst serve` {seconds['smallfirst'].show(2)} s, "
        f"`{REFERENCE}` {seconds[REFERENCE].show(2)} s. "
        f"Packages among {', '.join(HEAVY)} that smallfirst has imported by then: {heavy}."
    )


def _headline(results: Results, names: Sequence[str]) -> list[str]:
    titles = [f"{name}: {'added p50 ms' if name in LATENCY else 'CPU us/request'}" for name in names]
    rows = []
    for target in dict.fromkeys(target for name in names for target in results[name]):
        found = {name: figures(results[name], target) for name in names if target in results[name]}
        cells = [(f.added_p50_ms if name in LATENCY else f.cpu_us) for name, f in found.items()]
        if target != DIRECT:
            digits = [2 if name in LATENCY else 0 for name in found]
            rows.append((target, *(_cell(cell, count) for cell, count in zip(cells, digits, strict=True))))
    return ["## Headline", "", *table(("gateway", *titles), rows, left=1 + len(titles)), ""]


def _row(scenario: str, target: str, found: Figures) -> tuple[str, ...]:
    # the upstream's own CPU is not that of a gateway
    cpu, ratio = (None, None) if target == DIRECT else (found.cpu_us, found.cpu_ratio)
    return (
        scenario, target, _cell(cpu, 0), _cell(ratio, 2), _cell(found.per_s, 0), _cell(found.p50_ms, 2),
        _cell(found.p99_ms, 2), _cell(found.first_p50_ms, 2), _cell(found.added_p50_ms, 2),
        _cell(found.added_p99_ms, 2),
    )  # fmt: skip


def _cell(spread: Spread | None, digits: int) -> str:
    return "" if spread is None else spread.show(digits)


def _scenario(name: str, rounds: Mapping[str, Sequence[Sample]]) -> dict[str, Any]:
    asked = {field: value for field, value in asdict((SCENARIOS | WORKERS)[name]).items() if field != "name"}
    targets = {
        target: {
            "summary": asdict(figures(rounds, target)),
            "rounds": [asdict(sample) | {"per_s": sample.per_s} for sample in samples],
        }
        for target, samples in rounds.items()
    }
    return {"name": name, "asked": asked, "targets": targets}
