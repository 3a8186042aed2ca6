"""The report for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.common.machine import machine_line
from benchmarks.routing.metrics import FIGURES

PAPER = {"routellm_mmlu": ("0.603", "35.4%", "71.6%"), "routellm_gsm8k": ("0.622", "33.6%", "63.3%")}
"""APGR, CPT50, CPT80 of the best router in RouteLLM's paper (arXiv 2406.18665, Tables 2 and 3), trained elsewhere"""
IN_DOMAIN = {"routellm_mmlu": ("0.677", "26.8%", "56.6%"), "routellm_gsm8k": ("0.635", "34.6%", "60.7%")}
"""the same figures of the best simple router trained in domain, measured before ours was written: TF-IDF with logistic
regression, trained on one half and scored on the other; the nearest neighbours of MiniLM's vectors"""
HEADINGS = {"usd95": "$95", "apgr": "APGR"}
MORE_IS_BETTER = {"usd95": False, "apgr": True}
HEAD = "| | APGR | CPT50 | CPT80 | C95 | $95 |\n|---|--:|--:|--:|--:|--:|"
EXPLAINED = """\
c: the share of calls that the strong model answers. PGR: the recovered share of the quality gap between always-weak and
always-strong. APGR: its mean over all c. CPT50, CPT80: the least c with a PGR of 50%, 80%. C95: the least c with 95% of
the strong model's quality. $95: the same in dollars, as a share of always-strong. A cascade pays the weak model for
every call, unless it skips it. Ties count with their expected value. In brackets: 95% bootstrap intervals.
A difference is called better or worse only if its interval, on the same samples, excludes 0.

`A` alone: cross-fitted in five folds, which are merged by the share of calls that each sends to the strong model.
`A -> B`: fitted on A, scored on B. Support: how much the classifier relies on what it learned; at 0 it has fallen back
to its prior, which is not fitted. Quality: of always-weak and always-strong. `length`: the length of the prompt.
`raw_cascade` uses the confidence as it is. `paper`: the best router in RouteLLM's paper. `in domain`: the best simple
router trained on the same data, TF-IDF with logistic regression (MMLU) or neighbours of MiniLM's vectors (GSM8K)."""


def line(run: Mapping[str, Any]) -> str:
    """Return a run as a line of progress."""
    figure = "usd95" if _priced(run) else "apgr"
    values = ", ".join(f"{name} {_number(one[figure])}" for name, one in run["policies"].items())
    return f"{_title(run)}, {run['weak']} -> {run['strong']}: {figure}: {values}; support {run['support']:.2f}"


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: there is a report.png."""
    runs = report["runs"]
    lines = ["# Routing offline: what it saves, and what it costs in quality", ""]
    if picture:
        lines += ["![quality-cost curves](report.png)", ""]
    lines += [f"{machine_line(report)}; {report['samples']} bootstrap samples", "", EXPLAINED, ""]
    cascades = [run for run in runs if run["crossed"] and "cascade" in run["policies"]]
    unpriced = [run for run in runs if not _priced(run)]
    priced = [run for run in runs if _priced(run) and run not in cascades]
    if unpriced:
        lines += ["## Before the small model's answer", "", *_unpriced(unpriced), ""]
    if priced:
        lines += [
            "## Before the small model's answer, in dollars",
            "",
            *_compared(priced, ["length", "classifier"]),
            "",
        ]
    if cascades:
        lines += ["## With the small model's answer", ""]
        lines += [*_compared(cascades, ["classifier", "raw_cascade", "cascade"]), ""]
    if report.get("loads"):
        lines += ["## All pairs of a dataset together", "", *_dataset_means(report["loads"]), ""]
    lines += ["## In detail", ""]
    for run in runs:
        if run["shown"]:
            lines += [*_run(run), ""]
    return "\n".join([*lines, "All figures, and the curves of the picture, are in report.json.", ""])


def _unpriced(runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"- {_counted(runs, 'length', 'classifier', 'apgr')}"
    yield ""
    yield "| APGR | quality | labels | support | length | paper | in domain | classifier | difference | oracle |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for run in runs:
        cells = [
            _quality(run),
            str(run["labels"]),
            f"{run['support']:.2f}",
            _cell(run, "length", "apgr"),
            PAPER.get(_data(run), [""])[0],
            IN_DOMAIN.get(_data(run), [""])[0] if _data(run) in run["train"] else "",
            _cell(run, "classifier", "apgr"),
            _difference(run, "length", "classifier", "apgr"),
            _number(run["policies"]["oracle"]["apgr"]),
        ]
        yield f"| {_title(run)} | {' | '.join(cells)} |"


def _compared(runs: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[str]:
    """Yield a row for each pair: the figures of some policies, and the difference between the last two."""
    *_, base, ours = names
    for key in MORE_IS_BETTER:
        for other in names[:-1]:
            yield f"- {_counted(runs, other, ours, key)}"
    yield ""
    columns = [f"{HEADINGS[key]} {name}" for key in MORE_IS_BETTER for name in (*names, "difference")]
    yield f"| | pair | quality | {' | '.join(columns)} |"
    yield f"|---|---|--:|{'--:|' * len(columns)}"
    for run in runs:
        cells = [_quality(run)]
        for key in MORE_IS_BETTER:
            cells += [_figure(run["policies"][name][key], key) for name in names]
            cells.append(_difference(run, base, ours, key))
        yield f"| {_title(run)} | {run['weak']} -> {run['strong']} | {' | '.join(cells)} |"


def _dataset_means(means: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a row for each dataset: the means over the pairs of models, and the differences to the cascade."""
    yield "Means over the pairs, with the same calls in the same samples; and means without the weakest model."
    yield ""
    against = ("classifier", "raw_cascade")
    names = (*against, "cascade", *(f"against {name}" for name in against))
    columns = [f"{HEADINGS[key]} {name}" for key in MORE_IS_BETTER for name in names]
    yield f"| | pairs | {' | '.join(columns)} |"
    yield f"|---|--:|{'--:|' * len(columns)}"
    for mean in means:
        title = mean["test"] + (f", without {mean['without']}" if mean["without"] else "")
        cells = [str(mean["pairs"])]
        for key in MORE_IS_BETTER:
            cells += [_figure(mean["policies"][name][key], key) for name in (*against, "cascade")]
            cells += [_difference(mean, base, "cascade", key) for base in against]
        yield f"| {title} | {' | '.join(cells)} |"


def _run(run: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {_title(run)}: {run['weak']} -> {run['strong']}"
    yield ""
    yield f"{run['labels']} labels, {run['calls']} calls, support {run['support']:.2f}."
    yield ""
    yield HEAD
    for name in run["policies"]:
        yield f"| {name} | {' | '.join(_cell(run, name, key) for key in FIGURES)} |"
    for name, known in (("the best in the paper", PAPER), ("the best in domain", IN_DOMAIN)):
        if values := known.get(_data(run)):
            yield f"| {name} | {' | '.join(values)} | | |"


def _data(run: Mapping[str, Any]) -> str:
    """Return the name of the scored data, without `half`."""
    return str(run["test"]).split(",")[0]


def _quality(run: Mapping[str, Any]) -> str:
    """Return the quality of always-weak and of always-strong."""
    weak, strong = run["quality"]
    return f"{weak:.3f} to {strong:.3f}"


def _counted(runs: Sequence[Mapping[str, Any]], base: str, ours: str, key: str) -> str:
    known = [run for run in runs if run["policies"][ours][key] is not None]
    found = Counter(_verdict(run, base, ours, key) for run in known)
    counts = ", ".join(f"{word} in {found[word]}" for word in ("better", "even", "worse"))
    return f"{HEADINGS[key]}, {ours} against {base}: {counts} of {len(known)} runs."


def _verdict(run: Mapping[str, Any], base: str, ours: str, key: str) -> str:
    ends = run["differences"].get(f"{ours} - {base}, {key}")
    if not ends or ends[0] <= 0 <= ends[1]:
        return "even"
    return "better" if (ends[0] > 0) == MORE_IS_BETTER[key] else "worse"


def _difference(run: Mapping[str, Any], base: str, ours: str, key: str) -> str:
    ends = run["differences"].get(f"{ours} - {base}, {key}")
    if not ends:
        return ""
    word = _verdict(run, base, ours, key)
    interval = _range(ends, "+.3f" if key == "apgr" else "+.1%")
    return interval if word == "even" else f"**{word}** {interval}"


def _priced(run: Mapping[str, Any]) -> bool:
    return run["policies"]["random"]["usd95"] is not None


def _title(run: Mapping[str, Any]) -> str:
    return str(run["test"]) if run["crossed"] else f"{run['train']} -> {run['test']}"


def _cell(run: Mapping[str, Any], name: str, key: str) -> str:
    value, within = run["policies"][name][key], run["intervals"][name][key]
    text = _figure(value, key)
    return text + (f" ({_range(within, '.3f' if key == 'apgr' else '.1%')})" if within and value is not None else "")


def _figure(value: float | None, key: str) -> str:
    return _number(value) if key == "apgr" else "-" if value is None else f"{value:.1%}"


def _range(ends: Sequence[float], form: str) -> str:
    return f"{ends[0]:{form}} to {ends[1]:{form}}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
