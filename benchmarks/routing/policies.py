"""Every policy and baseline: fitted on some calls, and scoring others."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from statistics import fmean
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing import cascades
from benchmarks.routing.data import Row
from benchmarks.routing.metrics import Rank

FOLDS = 5


@dataclass(frozen=True, slots=True)
class Scored:
    """One policy's scores of the calls, in their order."""

    scores: Sequence[float | Rank]
    pays_weak: bool
    """the weak model answers before the policy decides"""
    to_save_usd: Sequence[float | Rank] | None = None
    """the scores to save dollars, if they differ from those to save calls of the strong model"""
    fitted: bool = False
    """learned from the training data"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """All policies' scores of the calls."""

    policies: Mapping[str, Scored]
    support: float
    """how much the classifier relies on what it learned, on average; 0: it fell back to its prior; 1: known texts"""


def score(train: Sequence[Row], test: Sequence[Row]) -> Outcome:
    """Fit every policy on some calls and score others; cascades only if there are confidences."""
    learned = cascades.cascade(train)
    guesses = [learned.evidence.prompt_gain(row.text) for row in test]
    scored = {
        "random": Scored([0.0] * len(test), pays_weak=False),
        "length": Scored([float(len(row.prompt)) for row in test], pays_weak=False),
        "classifier": Scored(
            [guess.gain for guess in guesses],
            pays_weak=False,
            to_save_usd=[learned.unseen(row, guess.gain) for row, guess in zip(test, guesses, strict=True)],
            fitted=True,
        ),
        "oracle": Scored([row.gain for row in test], pays_weak=False),
    }
    if any(row.has_confidence for row in test):
        raw = cascades.raw_cascade(train)
        scored["raw_cascade"] = Scored([raw(row) for row in test], pays_weak=True)
        calls, usd = [learned.calls(row) for row in test], [learned(row) for row in test]
        scored["cascade"] = Scored(calls, pays_weak=True, to_save_usd=usd, fitted=True)
    return Outcome(scored, fmean(guess.support for guess in guesses))


def cross_score(rows: Sequence[Row], folds: int = FOLDS) -> Outcome:
    """Score each call by policies that were fitted on the other folds. The folds are always the same."""
    by_hash = hashed(rows)
    # a fold without confidences would have no cascade, so each fold gets some calls with a confidence
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


def hashed(rows: Sequence[Row]) -> list[int]:
    """Return the places of the rows in the order of their ids' hashes: arbitrary, but always the same."""
    return sorted(range(len(rows)), key=lambda place: (crc32(rows[place].id.encode(errors="surrogatepass")), place))


def _joined(parts: Sequence[Scored], back: NDArray[np.intp]) -> Scored:
    kind = parts[0]
    level = levels if kind.fitted else list
    scores = [score for part in parts for score in level(part.scores)]
    usd = [score for part in parts for score in level(part.to_save_usd or ())]
    return replace(
        kind, scores=[scores[place] for place in back], to_save_usd=[usd[place] for place in back] if usd else None
    )


def levels(scores: Sequence[float | Rank]) -> list[float | Rank]:
    """Return for each score the share of the calls with a lower score.

    Scores of two fits are on different scales. At the same level, each fit sends the same share of its calls to the
    strong model (Forman and Scholz, Apples-to-apples in cross-validation studies, SIGKDD Explorations 12(1), 2010).
    """
    ranks = [Rank.of(score) for score in scores]
    turns = sorted(max(rank) for rank in ranks)

    def level(turn: float) -> float:
        return (bisect_left(turns, turn) + bisect_right(turns, turn)) / (2 * len(turns)) if turn > -inf else -inf

    return [Rank(level(rank.escalate), level(rank.skip)) for rank in ranks]
