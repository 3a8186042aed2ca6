"""The small model answers first, and its confidence decides; raw, and as this project does it.

The cascade knows of a call what a live server knows: the prompt, the confidence of the small model's answer, and what
such calls cost. It expects from the large model

    P(the small answer is not as good) + trust * support * (what the prompt says beyond that)

P is calibrated per task, tasks being told apart by the prompt's fingerprint. The label is "as good as the large one's
answer" and not "right": what both get wrong is no reason to escalate. What the prompt adds is a ridge regression of
what P leaves unexplained, on the words and measures of `GainModel`. It counts as much as it was worth for calls that
it had not learned from (stacking: Wolpert, Neural Networks 5(2), 1992), and for texts unlike all those not at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from statistics import fmean
from typing import TypeVar

import numpy as np
from msgspec.structs import replace

from benchmarks.routing.data import Row
from benchmarks.routing.metrics import Policy, Rank
from router.calibration import FEWEST, Calibration
from router.confidence import LOWEST, log_odds
from router.fingerprint import fingerprint
from router.policy.gain import GainModel, Prior, scaled, tf_idf
from router.policy.ridge import Sparse, path
from router.policy.skip import skip_until
from router.policy.text import see
from router.types import ChatCall

PENALTY, STEPS, FOLDS = 8.0, 32, 5
"""of the ridge; a penalty chosen anew from every few hundred calls is worse than a fixed one"""
QUANTILES = 100
"""a task's doubts are kept as so many of them"""
TIE = 1e-9
"""equal doubts, beyond the ends of a curve, go by the confidence"""
OTHER = ""
"""all calls, for tasks of which few or none are known"""
DEAREST = 0.95
"""a small model that costs more than this share of the large one is treated as if it cost this share: almost never
worth a look, but where it is, the gain still decides"""

T = TypeVar("T")


def raw_cascade(train: Sequence[Row]) -> Policy:
    """Return the cascade that takes the confidence as it is; nothing is learned."""
    return lambda row: -confidence(row)


def cascade(train: Sequence[Row]) -> Cascade:
    """Learn a cascade from labelled calls; those without a confidence teach only what the prompt tells."""
    return Cascade.fit(train)


def confidence(row: Row) -> float:
    """Return the log-odds that the small model gives its own answer; the lowest where it gives none."""
    return LOWEST if row.logconf is None else log_odds(row.logconf)


def task(row: Row) -> str:
    """Return the name of the call's task as the gateway would find it."""
    system = [{"role": "system", "content": row.system}] if row.system else []
    body = {"messages": [*system, {"role": "user", "content": row.prompt}]}
    return fingerprint(ChatCall("chat/completions", "auto", body, fields={}, size=0))


@dataclass(frozen=True, slots=True)
class Cascade:
    """What was learned; two orders, by what is to be saved. Called, it is the one that saves dollars."""

    calibration: Calibration
    hint: GainModel
    """what the prompt adds to the confidence"""
    hint_before: GainModel
    """and what it says before there is one, beyond its task's mean"""
    doubts: Mapping[str, Sequence[float]]
    """of each task's calls: quantiles of P(the small answer is not as good), rising"""
    prices: Mapping[str, _Prices]
    """none where not all calls have one"""

    @classmethod
    def fit(cls, train: Sequence[Row]) -> Cascade:
        """See `cascade`."""
        tasks = [task(row) for row in train]
        sure = [place for place, row in enumerate(train) if row.has_confidence]
        calibration = Calibration.fit(
            (tasks[place], confidence(train[place]), float(train[place].weak >= train[place].strong)) for place in sure
        )
        doubts = {place: 1 - calibration.probability(tasks[place], confidence(train[place])) for place in sure}
        groups, model = _groups(tasks), GainModel.fit([row.text for row in train], [row.gain for row in train])
        priced = all(row.weak_usd is not None and row.strong_usd for row in train)
        return cls(
            calibration,
            _hint(model, [train[place] for place in sure], [tasks[place] for place in sure], doubts.values()),
            _hint(model, train, tasks, [0.0] * len(train)),
            {
                name: _quantiles(of)
                for name, places in groups.items()
                if (of := [doubts[p] for p in places if p in doubts])
            },
            {name: _Prices.fit([train[place] for place in places]) for name, places in groups.items() if priced},
        )

    def calls(self, row: Row) -> Rank:
        """Rank by gain: saves calls of the large model, of which the small one's answer costs none."""
        return Rank(self._gain(row, task(row)))

    def __call__(self, row: Row) -> Rank:
        """Rank by gain per dollar, and skip the small model where its answer is not worth its price."""
        name = task(row)
        gain = self._gain(row, name)
        if not self.prices:
            return Rank(gain)
        prices = _of(self.prices, name)
        usd = prices.strong_usd(row.text)
        if not self.doubts:
            return Rank(gain / usd)
        # before the answer is seen: the doubts of the task's other calls, moved to where this prompt is guessed to be
        before = self.hint_before.gain(row.text)
        likely = [doubt + before for doubt in _of(self.doubts, name)]
        return Rank(gain / usd, skip_until(likely, min(prices.ratio, DEAREST)) / usd)

    def _gain(self, row: Row, name: str) -> float:
        return self._doubt(row, name) + self.hint.gain(row.text) - TIE * confidence(row)

    def _doubt(self, row: Row, name: str) -> float:
        """Return P(the small model's answer is not as good as the large one's)."""
        if self.calibration.route is None:  # nothing is known of confidences: they are taken at their word
            return 1.0 if row.logconf is None else 1 - exp(min(0.0, row.logconf))
        if not row.has_confidence:
            return fmean(_of(self.doubts, name))
        return 1 - self.calibration.probability(name, confidence(row))


@dataclass(frozen=True, slots=True)
class _Prices:
    """What calls of a task cost, as known before they are made: a line over the prompt's length."""

    base_usd: float
    usd_per_char: float
    least_usd: float
    ratio: float
    """the small model's dollars for one of the large model's"""

    @classmethod
    def fit(cls, calls: Sequence[Row]) -> _Prices:
        lengths, usd = [float(len(row.text)) for row in calls], [row.strong_usd or 0.0 for row in calls]
        slope = max(0.0, _slope(lengths, usd))
        base = fmean(usd) - slope * fmean(lengths)
        return cls(base, slope, min(usd), sum(row.weak_usd or 0.0 for row in calls) / sum(usd))

    def strong_usd(self, text: str) -> float:
        """Return what the large model's answer will cost."""
        return max(self.least_usd, self.base_usd + self.usd_per_char * len(text))


def _hint(model: GainModel, rows: Sequence[Row], tasks: Sequence[str], known: Iterable[float]) -> GainModel:
    """Return the model refitted to where the small answer is not as good, beyond what is known and the task's mean."""
    left = np.array([row.weak < row.strong for row in rows]) - np.fromiter(known, np.float64)
    for places in _groups(tasks).values():
        left[places] -= left[places].mean()
    silent = replace(model, mean=0.0, prior=Prior(worth=0.0))
    if not model.buckets or len(rows) < FEWEST:
        return silent
    column = {bucket: place for place, bucket in enumerate(model.buckets)}
    entries = []
    for row in rows:
        seen = see(row.text)
        values = dict(tf_idf(seen, model.buckets))
        measured = [scaled(value, measure) for value, measure in zip(seen.measures, model.measures, strict=True)]
        columns = [*(column[bucket] for bucket in values), *range(len(column), len(column) + len(measured))]
        entries.append((columns, [*values.values(), *measured]))
    x = Sparse(entries, len(column) + len(model.measures))
    fold, guessed = np.arange(len(rows)) % FOLDS, np.zeros(len(rows))
    for out in (fold == each for each in range(FOLDS)):
        fitted = path(x, left, ~out, [PENALTY], STEPS)[0]
        guessed[out] = (x.dot(fitted[:-1]) + fitted[-1])[out]
    trust = min(1.0, max(0.0, _slope(guessed.tolist(), left.tolist())))
    weights = (trust * path(x, left, fold >= 0, [PENALTY], STEPS)[0]).tolist()
    return replace(
        silent,
        buckets={
            bucket: old._replace(weight=weights[place]) for place, (bucket, old) in enumerate(model.buckets.items())
        },
        measures=[old._replace(weight=weights[len(column) + place]) for place, old in enumerate(model.measures)],
        offset=weights[-1],
    )


def _groups(tasks: Sequence[str]) -> dict[str, list[int]]:
    """Return the places of each task with enough calls, and of all."""
    found: dict[str, list[int]] = {}
    for place, name in enumerate(tasks):
        found.setdefault(name, []).append(place)
    enough = {name: places for name, places in found.items() if len(places) >= FEWEST}
    return enough | ({OTHER: list(range(len(tasks)))} if tasks else {})


def _of(known: Mapping[str, T], name: str) -> T:
    return known[name] if name in known else known[OTHER]


def _quantiles(values: Iterable[float]) -> list[float]:
    ranked = sorted(values)
    n = len(ranked)
    return ranked if n <= QUANTILES else [ranked[(2 * i + 1) * n // (2 * QUANTILES)] for i in range(QUANTILES)]


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the slope of y over x by least squares; 0 where x does not vary."""
    if not x:
        return 0.0
    middle, mean = fmean(x), fmean(y)
    spread = sum((one - middle) ** 2 for one in x)
    return sum((one - middle) * (other - mean) for one, other in zip(x, y, strict=True)) / spread if spread else 0.0
