"""Map the score of a small model's answer to the probability that it is good enough, and find a safe threshold.

Both are fitted to labelled calls: a score (higher means more confident) and whether the answer was as good as the large
model's. Scores are not comparable across tasks (log-odds of a choice, of a whole text), so each task has its own curve.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from math import exp, inf, isfinite, lgamma, log, log1p, nextafter
from operator import itemgetter

LabelledScore = tuple[str, float, float]
"""task, score, label. The label is 1 if the answer is good enough, 0 if not, and between them if judges disagree."""

FOLDS = 5
MIN_TASK_CALLS = 10
"""a task with fewer labelled calls uses the route's curve"""
CREDIBILITIES = (10.0, 30.0, 100.0, 300.0, 1000.0, inf)
"""candidates for the number of calls at which a task's own curve weighs as much as the route's"""


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A non-decreasing curve, stored as the centre of each block of scores and the mean label there.

    Between centres it is linear, so that scores of one block keep their order (centred isotonic regression: Oron and
    Flournoy, Statistics in Biopharmaceutical Research 9(3), 2017, section 2.2). Outside the centres it is constant.
    """

    centres: tuple[float, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        """Reject an invalid curve, because curves are also read from files."""
        rising = all(low < high for low, high in pairwise(self.centres))
        never_falling = all(low <= high for low, high in pairwise(self.values))
        if not self.centres or len(self.centres) != len(self.values) or not rising or not never_falling:
            raise ValueError("an isotonic curve needs as many values as centres, at least one, and none may fall")

    @classmethod
    def fit(cls, scores: Sequence[float], labels: Sequence[float], weights: Sequence[float] | None = None) -> Isotonic:
        """Fit by pool-adjacent-violators (Barlow et al., Statistical Inference under Order Restrictions, 1972).

        Args:
            scores: finite, in any order.
            labels: one per score, each in 0..1.
            weights: one per score, above 0. None gives all scores the same weight.

        Raises:
            ValueError: there are no scores, the lengths differ, or a value is out of its range.
        """
        weights = [1.0] * len(scores) if weights is None else weights
        if not scores or not len(scores) == len(labels) == len(weights):
            raise ValueError("an isotonic curve needs as many labels and weights as scores, and at least one")
        if not all(map(isfinite, scores)) or not all(0 <= label <= 1 for label in labels) or min(weights) <= 0:
            raise ValueError("scores must be finite, labels between 0 and 1, weights above 0")
        blocks: list[_Block] = []
        for score, of in groupby(sorted(zip(scores, labels, weights, strict=True)), key=itemgetter(0)):
            same = [(label, weight) for _, label, weight in of]  # equal scores are one block
            weight = sum(weight for _, weight in same)
            block = _Block(weight, weight * score, sum(weight * label for label, weight in same))
            while blocks and blocks[-1].value >= block.value:
                block = blocks.pop().merge(block)
            blocks.append(block)
        return cls(tuple(block.centre for block in blocks), tuple(block.value for block in blocks))

    def __call__(self, score: float) -> float:
        """Return the expected label at this score, 0 to 1."""
        above = bisect_right(self.centres, score)
        if above == 0:
            return self.values[0]
        if above == len(self.centres):
            return self.values[-1]
        left, right = self.centres[above - 1], self.centres[above]
        low, high = self.values[above - 1], self.values[above]
        return low + (high - low) * ((score - left) / (right - left))


@dataclass(frozen=True, slots=True)
class _Block:
    weight: float
    scores: float
    labels: float
    """weighted sums"""

    @property
    def centre(self) -> float:
        return self.scores / self.weight

    @property
    def value(self) -> float:
        return min(1.0, self.labels / self.weight)

    def merge(self, above: _Block) -> _Block:
        return _Block(self.weight + above.weight, self.scores + above.scores, self.labels + above.labels)


@dataclass(frozen=True, slots=True)
class Calibration:
    """The route's curve, and the curve of each task with its weight.

    P = z P_task + (1 - z) P_route with z = n / (n + k). n is the number of the task's labelled calls. z is Buehlmann's
    credibility (Experience Rating and Credibility, ASTIN Bulletin 4(3), 1967). His k is the variance within tasks over
    the variance between them. Here curves are mixed, not means, so k is the candidate with the least squared error on
    held-out calls. If tasks do not differ, k is infinite and all calls share one curve.
    """

    route: Isotonic | None = None
    """None if there were no labelled calls; then no answer is good enough"""
    tasks: Mapping[str, tuple[float, Isotonic]] = field(default_factory=dict)

    @classmethod
    def fit(cls, data: Iterable[LabelledScore]) -> Calibration:
        """Fit on labelled calls.

        Raises:
            ValueError: a score is not finite, or a label not in 0..1.
        """
        calls = sorted(data, key=lambda call: call[1])  # each fold then has low and high scores
        if not calls:
            return cls()
        route, own = _fit_curve(calls), _fit_task_curves(calls)
        k = _best_credibility(calls) if len(own) > 1 else inf
        return cls(route, {} if k == inf else {task: (n / (n + k), curve) for task, (n, curve) in own.items()})

    def probability(self, task: str, score: float) -> float:
        """Return P(the small model's answer is good enough), 0 to 1. It is non-decreasing in the score."""
        if self.route is None:
            return 0.0
        of_route = self.route(score)
        if task not in self.tasks:
            return of_route
        share, curve = self.tasks[task]
        return share * curve(score) + (1 - share) * of_route


def _fit_curve(calls: Sequence[LabelledScore]) -> Isotonic:
    return Isotonic.fit([score for _, score, _ in calls], [label for _, _, label in calls])


def _fit_task_curves(calls: Iterable[LabelledScore]) -> dict[str, tuple[int, Isotonic]]:
    """Return the number of calls and the curve of each task with enough calls."""
    by_task: dict[str, list[LabelledScore]] = {}
    for call in calls:
        by_task.setdefault(call[0], []).append(call)
    return {task: (len(of), _fit_curve(of)) for task, of in by_task.items() if len(of) >= MIN_TASK_CALLS}


def _best_credibility(calls: Sequence[LabelledScore]) -> float:
    """Return the k with the least cross-validation error. Of equal ones, return the largest."""
    error = dict.fromkeys(CREDIBILITIES, 0.0)
    for fold in range(FOLDS):
        rest = [call for place, call in enumerate(calls) if place % FOLDS != fold]
        route, own = _fit_curve(rest), _fit_task_curves(rest)
        for task, score, label in calls[fold::FOLDS]:
            of_route = route(score)
            n, curve = own.get(task, (0, route))
            beyond = curve(score) - of_route
            for k in CREDIBILITIES:
                error[k] += (of_route + n / (n + k) * beyond - label) ** 2
    return min(CREDIBILITIES, key=lambda k: (error[k], -k))


def guaranteed_threshold(comparisons: Iterable[tuple[float, bool]], *, max_risk: float, delta: float) -> float | None:
    """Return the lowest threshold t such that serving the small model at scores >= t is safe, or None if none is.

    Safe: with probability 1 - delta over the comparisons, R(t) = P(score >= t and the models disagree) <= max_risk.
    R falls as t rises, so the bound has to hold at one t only. Testing several t needs no correction (risk-controlling
    prediction sets, Bates et al., arXiv 2101.02703, Theorem 1). The bound is the exact binomial bound (Clopper and
    Pearson, Biometrika 26, 1934). Its sample size is the number of all comparisons.

    Args:
        comparisons: (score, whether the models disagree) of calls drawn at random.
        max_risk: share of all calls, above 0 and below 1.
        delta: above 0 and below 1.
    """
    pairs = list(comparisons)
    allowed = max_disagreements(len(pairs), max_risk, delta)
    if allowed < 0:
        return None
    disagreeing = sorted((score for score, disagree in pairs if disagree), reverse=True)
    return nextafter(disagreeing[allowed], inf) if len(disagreeing) > allowed else -inf


def max_disagreements(comparisons: int, max_risk: float, delta: float) -> int:
    """Return the largest K whose upper 1 - delta Clopper-Pearson bound is at most `max_risk`, or -1 if there is none.

    The bound BetaInv(1 - delta; K + 1, n - K) is the p at which P(Binomial(n, p) <= K) = delta. That probability falls
    with p, so the bound is at most `max_risk` if and only if P(Binomial(n, max_risk) <= K) <= delta.
    """
    cumulative, largest = 0.0, -1
    for k in range(comparisons):
        cumulative += exp(
            lgamma(comparisons + 1) - lgamma(k + 1) - lgamma(comparisons - k + 1)
            + k * log(max_risk) + (comparisons - k) * log1p(-max_risk)
        )  # fmt: skip
        if cumulative > delta:
            break
        largest = k
    return largest
