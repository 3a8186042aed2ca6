"""Fits `Evidence`. A separate module, so that only fitting imports numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np

from router.judge.features import MIN_LOGPROB
from router.learning.calibration import MIN_TASK_CALLS, Calibration
from router.learning.evidence import ALL_TASKS, Evidence, Example, TaskAverages
from router.learning.gain import GainModel
from router.learning.ridge import NEAR_ZERO, Floats

QUANTILES = 100
"""how many quantiles of the expected gains are stored per task"""


def fit(examples: Sequence[Example], beginning_tokens: int) -> Evidence:
    """See `Evidence.fit`."""
    if not examples:
        return Evidence(beginning_tokens=beginning_tokens)
    groups = _places_by_task(examples)
    known = [one.task if one.task in groups else ALL_TASKS for one in examples]
    worse = np.array([not one.as_good for one in examples], dtype=np.float64)

    prompts, estimates = GainModel.fit_and_estimate([one.text for one in examples], [one.gain for one in examples])
    mean_estimate = {task: fmean(estimates[place].gain for place in places) for task, places in groups.items()}
    beyond = np.array([estimate.gain - mean_estimate[task] for estimate, task in zip(estimates, known, strict=True)])

    confident = [place for place, one in enumerate(examples) if one.has_confidence]
    labelled = [(one.task, _score(one), float(one.as_good)) for one in examples if one.has_confidence]
    calibration = Calibration.fit(labelled)
    expected = {place: 1 - calibration.probability(*of[:2]) for place, of in zip(confident, labelled, strict=True)}
    unexplained = worse[confident] - np.array(list(expected.values()))

    return Evidence(
        calibration=calibration,
        beginnings=Calibration.fit(
            (one.task, one.first, float(one.as_good)) for one in examples if beginning_tokens and one.first is not None
        ),
        beginning_tokens=beginning_tokens,
        prompts=prompts,
        trust=_regression_slope(beyond[confident], unexplained, [known[place] for place in confident]),
        trust_before=_regression_slope(beyond, worse, known),
        tasks={
            task: TaskAverages(
                guess=mean_estimate[task],
                gains=_quantiles([expected[place] for place in places if place in expected]),
                completion_tokens=_mean(examples[place].completion_tokens for place in places),
            )
            for task, places in groups.items()
        },
    )


def _score(example: Example) -> float:
    return MIN_LOGPROB if example.score is None else example.score


def _places_by_task(examples: Sequence[Example]) -> dict[str, list[int]]:
    """Return the indices of all calls, and those of each task with enough calls."""
    found: dict[str, list[int]] = {}
    for place, one in enumerate(examples):
        found.setdefault(one.task, []).append(place)
    return {ALL_TASKS: list(range(len(examples)))} | {
        task: of for task, of in found.items() if len(of) >= MIN_TASK_CALLS
    }


def _regression_slope(beyond: Floats, unexplained: Floats, tasks: Sequence[str]) -> float:
    """Return the slope of `unexplained` on `beyond` within tasks, clipped to 0..1."""
    x, y = _subtract_task_means(beyond, tasks), _subtract_task_means(unexplained, tasks)
    spread = float(x @ x)
    return min(1.0, max(0.0, float(x @ y) / spread)) if spread > NEAR_ZERO else 0.0


def _subtract_task_means(values: Floats, tasks: Sequence[str]) -> Floats:
    """Return each value less the mean of its task."""
    _, which = np.unique(tasks, return_inverse=True)
    means = np.bincount(which, values) / np.bincount(which)
    return values - means[which]


def _quantiles(values: Sequence[float]) -> list[float]:
    ranked, n = sorted(values), len(values)
    return ranked if n <= QUANTILES else [ranked[(2 * i + 1) * n // (2 * QUANTILES)] for i in range(QUANTILES)]


def _mean(counts: Iterable[int | None]) -> float | None:
    known = [count for count in counts if count is not None]
    return fmean(known) if known else None
