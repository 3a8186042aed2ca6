"""The report for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.routing.metrics import FIGURES

PUBLISHED = {"routellm_mmlu": ("0.603", "35.4%", "71.6%"), "routellm_gsm8k": ("0.622", "33.6%", "63.3%")}
"""APGR, CPT50, CPT80 of the paper's best router (arXiv 2406.18665, Tables 2 and 3)"""
HEAD = "| | APGR | CPT50 | CPT80 | C95 | $95 |\n|---|--:|--:|--:|--:|--:|"
EXPLAINED = """\
c: the share of calls that the strong model answers. PGR: what part of the quality between always-weak and always-strong
is recovered. APGR: its mean over all c. CPT50, CPT80: the least c with a PGR of 50%, 80%. C95: the least c with 95% of
the strong model's quality; $95: the same in dollars, as a share of always-strong. A cascade always pays the weak model,
but where it skips it. Ties count in expectation. In brackets: 95% bootstrap intervals over the calls.
`A` alone: cross-fitted in five folds; `A -> B`: learned from A, asked about B. Support: how much of what the classifier
learned counts; at 0 it has fallen back to its prior, which is not fitted."""


def line(run: Mapping[str, Any]) -> str:
    """Return a run in one line of progress."""
    figure = "usd95" if run["policies"]["random"]["usd95"] is not None else "apgr"
    told = ", ".join(f"{name} {_number(one[figure])}" for name, one in run["policies"].items())
    return f"{_title(run)}, {run['weak']} -> {run['strong']}: {figure}: {told}; support {run['support']:.2f}"


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: report.png lies beside it."""
    hardware, runs = report["machine"], report["runs"]
    lines = ["# Routing offline: what is saved, and what it costs in quality", ""]
    if picture:
        lines += ["![quality-cost curves](report.png)", ""]
    lines += [
        f"{report['date']}; {hardware['cpu']}, {hardware['cores']} cores; Python {hardware['python']},"
        f" {', '.join(f'{name} {version}' for name, version in report['versions'].items())};"
        f" revision {report['revision']}; {report['samples']} bootstrap samples",
        "",
        EXPLAINED,
        "",
    ]
    priced = [run for run in runs if run["policies"]["random"]["usd95"] is not None]
    for run in runs:
        if run not in priced or run["shown"]:
            lines += [*_run(run), ""]
    if len(priced) > 1:
        lines += ["## Every pair, in dollars", "", *_pairs(priced), ""]
    return "\n".join([*lines, "All figures and curves are in report.json.", ""])


def _run(run: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {_title(run)}: {run['weak']} -> {run['strong']}"
    yield ""
    yield f"{run['labels']} labels, {run['calls']} calls, support {run['support']:.2f}."
    yield ""
    yield HEAD
    for name, one in run["policies"].items():
        within = run["intervals"][name]
        yield f"| {name} | {' | '.join(_cell(one[key], within[key], key) for key in FIGURES)} |"
    if run["test"] in PUBLISHED:
        yield f"| the paper's best router | {' | '.join(PUBLISHED[run['test']])} | | |"
    yield ""
    told = [f"{name} {_range(ends, '+.3f')}" for name, ends in run["differences"].items() if ends]
    if told:
        yield f"Differences on the same samples: {'; '.join(told)}."


def _pairs(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    names = list(dict.fromkeys(name for run in runs for name in run["policies"] if name != "random"))
    yield "$95 (APGR); bold: the best that does not know the answers."
    yield ""
    yield f"| | pair | {' | '.join(names)} |"
    yield f"|---|---|{'--:|' * len(names)}"
    for run in runs:
        scored = {name: one for name, one in run["policies"].items() if name in names}
        best = min((name for name in scored if name != "oracle"), key=lambda name: scored[name]["usd95"])
        cells = []
        for name in names:
            text = f"{_percent(scored[name]['usd95'])} ({_number(scored[name]['apgr'])})" if name in scored else ""
            cells.append(f"**{text}**" if name == best else text)
        yield f"| {_title(run)} | {run['weak']} -> {run['strong']} | {' | '.join(cells)} |"


def _title(run: Mapping[str, Any]) -> str:
    return str(run["test"]) if run["crossed"] else f"{run['train']} -> {run['test']}"


def _cell(value: float | None, within: Sequence[float] | None, key: str) -> str:
    if value is None:
        return "-"
    text = _number(value) if key == "apgr" else _percent(value)
    return text + (f" ({_range(within, '.3f' if key == 'apgr' else '.1%')})" if within else "")


def _range(ends: Sequence[float], form: str) -> str:
    return f"{ends[0]:{form}} to {ends[1]:{form}}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
