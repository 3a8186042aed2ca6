"""The quality-cost curve of sending calls to the strong model in a given order, and its figures.

r_w, r_s: quality of always-weak, of always-strong; c: the share of calls that the strong model answers.
PGR(c) = (r(c) - r_w) / (r_s - r_w) (performance gap recovered), APGR its integral over c, CPT(x) the smallest c with
PGR >= x (RouteLLM, arXiv 2406.18665, section 2.2). C95 is the smallest c with r >= 0.95 r_s, $95 the same in
dollars, as a share of what always-strong costs. Calls with the same score have no order, so their part of the curve is
a straight line, its expected value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.routing.data import Row

Floats = NDArray[np.float64]
Figures = dict[str, float | None]
FIGURES = ("apgr", "cpt50", "cpt80", "c95", "usd95")
ENOUGH = 0.95
CLOSE = 1e-12
"""rounding errors of sums are smaller"""


class Rank(NamedTuple):
    """The place of a call in the order. With threshold t, it goes to the strong model if t <= max(escalate, skip).

    `skip` is for cascades. If t <= skip, the weak model is not asked, so its answer costs nothing. Minus infinity:
    it is always asked.
    """

    escalate: float
    skip: float = -inf

    @classmethod
    def of(cls, score: float | Rank) -> Rank:
        """Return a score as a rank; a plain number never skips the weak model."""
        return score if isinstance(score, Rank) else cls(score)


Policy = Callable[[Row], float | Rank]
"""Calls with higher scores go to the strong model first. A cascade may use the weak model's confidence, but no policy
may use `weak`, `strong` or `strong_usd`, which are the results."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The corners of a curve from always-weak to always-strong: share of strong calls, mean quality, mean dollars."""

    share: Floats
    quality: Floats
    usd: Floats | None
    strong_usd: float
    """dollars per call of always-strong; 0 without prices"""


class Order:
    """Calls in the order in which a policy sends them to the strong model.

    Args:
        rows: the calls.
        scores: the policy's score of each.
        pays_weak: the weak model answers, and is paid, before the policy decides (a cascade).

    Raises:
        ValueError: a score is not a number.
    """

    def __init__(self, rows: Sequence[Row], scores: Sequence[float | Rank], *, pays_weak: bool) -> None:
        ranks = [Rank.of(score) for score in scores]
        if any(rank.escalate != rank.escalate or rank.skip != rank.skip for rank in ranks):
            raise ValueError("a score is not a number")
        escalate = np.array([max(rank) for rank in ranks])
        skip = np.array([rank.skip for rank in ranks])
        self.priced = all(row.weak_usd is not None and row.strong_usd is not None for row in rows)
        weak_usd, strong_usd = np.array([(row.weak_usd or 0.0, row.strong_usd or 0.0) for row in rows]).T
        self._weak = np.array([row.weak for row in rows])
        self._gain = np.array([row.gain for row in rows])
        self._weak_usd, self._strong_usd = weak_usd, strong_usd
        # as the threshold falls, two things happen to a call: it is escalated, and its weak model is no longer asked
        skipped = np.flatnonzero(skip > -inf) if pays_weak else np.array([], dtype=np.intp)
        when = np.concatenate([escalate, skip[skipped]])
        order = np.argsort(-when, kind="stable")
        self._row = np.concatenate([np.arange(len(rows)), skipped])[order]
        self._calls = np.concatenate([np.ones(len(rows)), np.zeros(len(skipped))])[order]
        self._usd = np.concatenate([strong_usd - (0.0 if pays_weak else weak_usd), -weak_usd[skipped]])[order]
        falls = when[order]
        self._groups = np.flatnonzero(np.concatenate([[True], falls[1:] != falls[:-1]]))

    def curve(self, weights: Floats | None = None) -> Curve:
        """Return the curve; `weights`: how often each call counts, for resampling (one number per call)."""
        each = np.ones(len(self._weak)) if weights is None else weights
        total, here = each.sum(), each[self._row]
        return Curve(
            share=self._corners(0.0, here * self._calls / total),
            quality=self._corners(each @ self._weak / total, here * self._calls * self._gain[self._row] / total),
            usd=self._corners(each @ self._weak_usd / total, here * self._usd / total) if self.priced else None,
            strong_usd=float(each @ self._strong_usd / total),
        )

    def _corners(self, start: float, steps: Floats) -> Floats:
        return start + np.concatenate([[0.0], np.cumsum(np.add.reduceat(steps, self._groups))])


def figures(curve: Curve) -> Figures:
    """Return a curve's figures as fractions; None: undefined, as both models are equal or there are no prices."""
    weak, strong = curve.quality[0], curve.quality[-1]
    found: Figures = dict.fromkeys(FIGURES)
    if abs(strong - weak) > CLOSE:
        pgr = (curve.quality - weak) / (strong - weak)
        found["apgr"] = float(np.trapezoid(pgr, curve.share))
        found["cpt50"] = least(curve.share, pgr, 0.5)
        found["cpt80"] = least(curve.share, pgr, 0.8)
    found["c95"] = least(curve.share, curve.quality, ENOUGH * strong)
    if curve.usd is not None and curve.strong_usd > 0:
        found["usd95"] = least(curve.usd / curve.strong_usd, curve.quality, ENOUGH * strong)
    return found


def least(cost: Floats, quality: Floats, enough: float) -> float:
    """Return the least cost at which a piecewise linear curve reaches a quality, which its end does."""
    before, after = quality[:-1], quality[1:]
    crosses = (before < enough - CLOSE) != (after < enough - CLOSE)
    step = np.where(crosses, after - before, 1.0)
    at = cost[:-1] + np.where(crosses, (enough - before) / step, 0.0) * np.diff(cost)
    return float(np.concatenate([cost[quality >= enough - CLOSE], at[crosses]]).min())


def merged_figures(to_save_calls: Curve, to_save_usd: Curve) -> Figures:
    """Return the figures of a policy that has one order to save calls and another to save dollars."""
    found = figures(to_save_calls)
    return found if to_save_usd is to_save_calls else found | {"usd95": figures(to_save_usd)["usd95"]}


def intervals(
    orders: Mapping[str, tuple[Order, Order]], calls: int, *, times: int, seed: int
) -> dict[str, dict[str, Floats]]:
    """Resample the calls (Efron's bootstrap) and return all figures of each policy, the same samples for all.

    Args:
        orders: policy -> its order to save calls, and its order to save dollars.
        calls: how many calls there are.
        times: how many samples to draw.
        seed: for drawing them.

    Returns:
        policy -> figure -> array of `times` values, NaN if undefined. All policies share the samples.
    """
    random = np.random.default_rng(seed)
    drawn: dict[str, list[Figures]] = {name: [] for name in orders}
    for _ in range(times):
        weights = np.bincount(random.integers(calls, size=calls), minlength=calls).astype(np.float64)
        for name, (calls_order, usd_order) in orders.items():
            curve = calls_order.curve(weights)
            drawn[name].append(merged_figures(curve, curve if usd_order is calls_order else usd_order.curve(weights)))
    return {
        name: {key: np.array([one[key] for one in values], dtype=np.float64) for key in FIGURES}
        for name, values in drawn.items()
    }


def spread(values: Floats) -> tuple[float, float] | None:
    """Return the interval of the middle 95% of the values; None: there are no values."""
    there = values[np.isfinite(values)]
    return None if not there.size else (float(np.quantile(there, 0.025)), float(np.quantile(there, 0.975)))
