"""Every policy and baseline: fitted on some calls, scoring others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing import cascades
from benchmarks.routing.data import Row
from benchmarks.routing.metrics import Rank
from router.policy.gain import GainModel

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Scored:
    """What one policy says of the calls, in their order."""

    scores: Sequence[float | Rank]
    pays_weak: bool
    """the weak model answers before the policy decides"""
    to_save_usd: Sequence[float | Rank] | None = None
    """of a policy that orders calls otherwise where dollars are to be saved, not calls of the strong model"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all policies say of the calls."""

    policies: Mapping[str, Scored]
    support: float
    """how much of what the classifier learned counts, on average: 0, it fell back to its prior; 1, usual texts"""


def score(train: Sequence[Row], test: Sequence[Row]) -> Outcome:
    """Fit every policy on some calls and score others; cascades only where there are confidences."""
    model = GainModel.fit([row.text for row in train], [row.gain for row in train])
    guesses = [model.guess(row.text) for row in test]
    scored = {
        "random": Scored([0.0] * len(test), pays_weak=False),
        "length": Scored([float(len(row.prompt)) for row in test], pays_weak=False),
        "classifier": Scored([guess.gain for guess in guesses], pays_weak=False),
        "oracle": Scored([row.gain for row in test], pays_weak=False),
    }
    if any(row.has_confidence for row in test):
        raw, learned = cascades.raw_cascade(train), cascades.cascade(train)
        scored["raw_cascade"] = Scored([raw(row) for row in test], pays_weak=True)
        calls, usd = [learned.calls(row) for row in test], [learned(row) for row in test]
        scored["cascade"] = Scored(calls, pays_weak=True, to_save_usd=usd)
    return Outcome(scored, fmean(guess.support for guess in guesses))


def cross_score(rows: Sequence[Row], folds: int = FOLDS) -> Outcome:
    """Score each call by policies that were fitted on the other folds; the same folds each time."""
    by_hash = sorted(range(len(rows)), key=lambda place: (crc32(rows[place].id.encode(errors="surrogatepass")), place))
    # a fold without confidences would have no cascades: each fold has some of those that have one
    by_hash.sort(key=lambda place: rows[place].has_confidence)
    held_out = [fold for fold in (by_hash[start::folds] for start in range(folds)) if fold]
    outcomes = []
    for places in held_out:
        out = set(places)
        train = [row for place, row in enumerate(rows) if place not in out]
        outcomes.append(score(train, [rows[place] for place in places]))
    back = np.argsort([place for places in held_out for place in places])
    shares = [len(places) / len(rows) for places in held_out]
    return Outcome(
        {name: _joined([outcome.policies[name] for outcome in outcomes], back) for name in outcomes[0].policies},
        sum(outcome.support * share for outcome, share in zip(outcomes, shares, strict=True)),
    )


def _joined(parts: Sequence[Scored], back: NDArray[np.intp]) -> Scored:
    scores = [score for part in parts for score in part.scores]
    usd = [score for part in parts for score in part.to_save_usd or ()]
    return Scored(
        [scores[place] for place in back], parts[0].pays_weak, [usd[place] for place in back] if usd else None
    )
