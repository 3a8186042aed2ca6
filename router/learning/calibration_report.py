"""What calibration found, for people: how good each model is, what its confidence tells, what thresholds would keep."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from router.learning.calibration import FEWEST
from router.learning.evidence import Example

MIN_CONFIDENCES = (0.5, 0.8, 0.9, 0.95)
MOST_TASKS = 30
SHOWN_CHARS = 40


class Judged(NamedTuple):
    """A call that was held out, with what the answer's confidence left to expect."""

    example: Example
    gain: float


def table(small: str, fallback: str, learned: Sequence[Example], judged: Sequence[Judged]) -> str:
    """Return lines for all calls of a small model, and for each task with enough of them."""
    examples = [*learned, *(one.example for one in judged)]
    by_task: dict[str, list[Example]] = {}
    for example in examples:
        by_task.setdefault(example.task, []).append(example)
    usual = sorted((task for task, of in by_task.items() if len(of) >= FEWEST), key=lambda task: -len(by_task[task]))
    rows = [
        ("task", "calls", "small", "large", "AUROC", *(f">= {least:g}" for least in MIN_CONFIDENCES), "begins with")
    ]
    rows.append(_row("all", examples, judged, ""))
    for task in usual[:MOST_TASKS]:
        of_task = [one for one in judged if one.example.task == task]
        rows.append(_row(_name(task), by_task[task], of_task, _beginning(by_task[task][0].text)))
    lines = [
        f"{small}, compared with {fallback}: learned from {len(learned)} calls, judged on {len(judged)} others.",
        "small, large: mean quality. AUROC: how well the confidence tells answers that are as good from the others.",
        "Then, for each `min_confidence`: the share of calls that the small model keeps, and the quality lost by it.",
        "",
        *_aligned(rows),
    ]
    if others := len(by_task) - len(usual[:MOST_TASKS]):
        lines.append(f"and {others} rarer tasks")
    return "\n".join(lines)


def auroc(examples: Iterable[Example]) -> float | None:
    """Return the chance that an answer that is as good has a higher score than one that is not, ties counting half.

    None: there are not both (Hanley and McNeil, Radiology 143, 1982).
    """
    scores: dict[bool, list[float]] = {True: [], False: []}
    for example in examples:
        if example.score is not None:
            scores[example.as_good].append(example.score)
    worse = sorted(scores[False])
    if not worse or not scores[True]:
        return None
    return fmean(bisect_left(worse, one) + bisect_right(worse, one) for one in scores[True]) / (2 * len(worse))


def kept(judged: Sequence[Judged], min_confidence: float) -> tuple[float, float] | None:
    """Return which share of calls stays on the small model, and the mean quality that is lost by it; None: no calls."""
    if not judged:
        return None
    gains = [one.example.gain for one in judged if one.gain <= 1 - min_confidence]
    return len(gains) / len(judged), sum(gains) / len(judged)


def _row(name: str, examples: Sequence[Example], judged: Sequence[Judged], begins: str) -> tuple[str, ...]:
    told = auroc(examples)
    return (
        name,
        str(len(examples)),
        f"{fmean(one.weak for one in examples):.3f}",
        f"{fmean(one.strong for one in examples):.3f}",
        "-" if told is None else f"{told:.3f}",
        *("-" if (of := kept(judged, least)) is None else f"{of[0]:.0%} {of[1]:+.3f}" for least in MIN_CONFIDENCES),
        begins,
    )


def _name(task: str) -> str:
    """Return the task without its route: the client's word for it, or the digest of its template."""
    return task.partition("/")[2].removeprefix("task:")


def _beginning(text: str) -> str:
    return " ".join(text[: 2 * SHOWN_CHARS].split())[:SHOWN_CHARS]


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if place in (0, last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
