"""Fits `Evidence`. Apart from it, so that only who learns imports numpy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean

import numpy as np

from router.judge.features import LOWEST
from router.learning.calibration import FEWEST, Calibration
from router.learning.evidence import EVERY, Evidence, Example, Usual
from router.learning.gain import GainModel
from router.learning.ridge import TINY, Floats

QUANTILES = 100
"""what is usual in a task is kept as so many of them"""


def fit(examples: Sequence[Example], beginning_tokens: int) -> Evidence:
    """See `Evidence.fit`."""
    if not examples:
        return Evidence(beginning_tokens=beginning_tokens)
    groups = _groups(examples)
    known = [one.task if one.task in groups else EVERY for one in examples]
    worse = np.array([not one.as_good for one in examples], dtype=np.float64)

    prompts, guesses = GainModel.fit_and_guess([one.text for one in examples], [one.gain for one in examples])
    usual = {task: fmean(guesses[place].gain for place in places) for task, places in groups.items()}
    beyond = np.array([guess.gain - usual[task] for guess, task in zip(guesses, known, strict=True)])

    sure = [place for place, one in enumerate(examples) if one.has_confidence]
    labelled = [(one.task, _score(one), float(one.as_good)) for one in examples if one.has_confidence]
    calibration = Calibration.fit(labelled)
    doubts = {place: 1 - calibration.probability(*of[:2]) for place, of in zip(sure, labelled, strict=True)}
    unexplained = worse[sure] - np.array(list(doubts.values()))

    return Evidence(
        calibration=calibration,
        beginnings=Calibration.fit(
            (one.task, one.first, float(one.as_good)) for one in examples if beginning_tokens and one.first is not None
        ),
        beginning_tokens=beginning_tokens,
        prompts=prompts,
        trust=_trust(beyond[sure], unexplained, [known[place] for place in sure]),
        trust_before=_trust(beyond, worse, known),
        tasks={
            task: Usual(
                guess=usual[task],
                gains=_quantiles([doubts[place] for place in places if place in doubts]),
                completion_tokens=_mean(examples[place].completion_tokens for place in places),
            )
            for task, places in groups.items()
        },
    )


def _score(example: Example) -> float:
    return LOWEST if example.score is None else example.score


def _groups(examples: Sequence[Example]) -> dict[str, list[int]]:
    """Return the places of all calls, and of each task with enough of them."""
    found: dict[str, list[int]] = {}
    for place, one in enumerate(examples):
        found.setdefault(one.task, []).append(place)
    return {EVERY: list(range(len(examples)))} | {task: of for task, of in found.items() if len(of) >= FEWEST}


def _trust(beyond: Floats, unexplained: Floats, tasks: Sequence[str]) -> float:
    """Return by how much, within tasks, the unexplained rises with what the prompts say beyond them; 0 to 1."""
    x, y = _within(beyond, tasks), _within(unexplained, tasks)
    spread = float(x @ x)
    return min(1.0, max(0.0, float(x @ y) / spread)) if spread > TINY else 0.0


def _within(values: Floats, tasks: Sequence[str]) -> Floats:
    """Return the values less the mean of their task's."""
    _, which = np.unique(tasks, return_inverse=True)
    means = np.bincount(which, values) / np.bincount(which)
    return values - means[which]


def _quantiles(values: Sequence[float]) -> list[float]:
    ranked, n = sorted(values), len(values)
    return ranked if n <= QUANTILES else [ranked[(2 * i + 1) * n // (2 * QUANTILES)] for i in range(QUANTILES)]


def _mean(counts: Iterable[int | None]) -> float | None:
    known = [count for count in counts if count is not None]
    return fmean(known) if known else None
