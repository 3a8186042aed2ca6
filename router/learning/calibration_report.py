"""The printed report of a calibration: each model's quality, its AUROC, and the effect of each threshold."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

from router.learning.calibration import MIN_TASK_CALLS
from router.learning.evidence import Example

MIN_CONFIDENCES = (0.5, 0.8, 0.9, 0.95)
MAX_TASK_ROWS = 30
PREVIEW_CHARS = 40


class HeldOutCall(NamedTuple):
    """A call that was not learned from, with the gain that the evidence predicts for it."""

    example: Example
    gain: float


def format_table(small: str, fallback: str, learned: Sequence[Example], held_out: Sequence[HeldOutCall]) -> str:
    """Return a table with a row for all calls of a small model and one for each task with enough calls."""
    examples = [*learned, *(one.example for one in held_out)]
    by_task: dict[str, list[Example]] = {}
    for example in examples:
        by_task.setdefault(example.task, []).append(example)
    frequent = sorted(
        (task for task, of in by_task.items() if len(of) >= MIN_TASK_CALLS), key=lambda task: -len(by_task[task])
    )
    rows = [
        ("task", "calls", "small", "large", "AUROC", *(f">= {least:g}" for least in MIN_CONFIDENCES), "begins with")
    ]
    rows.append(_row("all", examples, held_out, ""))
    for task in frequent[:MAX_TASK_ROWS]:
        of_task = [one for one in held_out if one.example.task == task]
        rows.append(_row(_short_name(task), by_task[task], of_task, _preview(by_task[task][0].text)))
    lines = [
        f"{small}, compared with {fallback}: learned from {len(learned)} calls, judged on {len(held_out)} others.",
        "small, large: mean quality. AUROC: how well the confidence tells answers that are as good from the others.",
        "Then, for each `min_confidence`: the share of calls that the small model keeps, and the quality lost by it.",
        "",
        *_align_columns(rows),
    ]
    if others := len(by_task) - len(frequent[:MAX_TASK_ROWS]):
        lines.append(f"and {others} rarer tasks")
    return "\n".join(lines)


def auroc(examples: Iterable[Example]) -> float | None:
    """Return the probability that a good answer has a higher score than a worse one; ties count half.

    None if all answers are good or all are worse (Hanley and McNeil, Radiology 143, 1982).
    """
    scores: dict[bool, list[float]] = {True: [], False: []}
    for example in examples:
        if example.score is not None:
            scores[example.as_good].append(example.score)
    worse = sorted(scores[False])
    if not worse or not scores[True]:
        return None
    return fmean(bisect_left(worse, one) + bisect_right(worse, one) for one in scores[True]) / (2 * len(worse))


def kept_share_and_loss(held_out: Sequence[HeldOutCall], min_confidence: float) -> tuple[float, float] | None:
    """Return the share of calls that the small model keeps and the mean quality lost, or None if there are no calls."""
    if not held_out:
        return None
    gains = [one.example.gain for one in held_out if one.gain <= 1 - min_confidence]
    return len(gains) / len(held_out), sum(gains) / len(held_out)


def _row(name: str, examples: Sequence[Example], held_out: Sequence[HeldOutCall], begins: str) -> tuple[str, ...]:
    area = auroc(examples)
    return (
        name,
        str(len(examples)),
        f"{fmean(one.weak for one in examples):.3f}",
        f"{fmean(one.strong for one in examples):.3f}",
        "-" if area is None else f"{area:.3f}",
        *(
            "-" if (of := kept_share_and_loss(held_out, least)) is None else f"{of[0]:.0%} {of[1]:+.3f}"
            for least in MIN_CONFIDENCES
        ),
        begins,
    )


def _short_name(task: str) -> str:
    """Return the task without its route: the client's name for it, or the digest of its template."""
    return task.partition("/")[2].removeprefix("task:")


def _preview(text: str) -> str:
    return " ".join(text[: 2 * PREVIEW_CHARS].split())[:PREVIEW_CHARS]


def _align_columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell.ljust(width) if place in (0, last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
