"""The statistics of paired measurements. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

T = TypeVar("T")
Verdict = Literal["met", "missed", "open"]

RESAMPLES = 10_000
FEWEST = 3  # with fewer units, chance alone would decide how wide the interval is
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95% interval. With fewer than three units there is no interval."""

    value: float
    low: float | None
    high: float | None

    def text(self, digits: int, sign: str = "") -> str:
        """Return "0.982 (0.975 to 0.990)". With "+" as the sign, positive numbers have a plus."""
        value = f"{self.value:{sign}.{digits}f}"
        if self.low is None or self.high is None:
            return value
        return f"{value} ({self.low:{sign}.{digits}f} to {self.high:{sign}.{digits}f})"


def bootstrap(units: Sequence[T], statistic: Callable[[Sequence[T]], float], *, seed: int = 1) -> Estimate:
    """Return the statistic of the units with its percentile bootstrap interval, from `RESAMPLES` resamples.

    A unit is what was measured together, such as a round or a pair. The seed is fixed, so the same data give the same
    interval.
    """
    value = statistic(units)
    if len(units) < FEWEST:
        return Estimate(value, None, None)
    choose = random.Random(seed).choices
    drawn = [statistic(choose(units, k=len(units))) for _ in range(RESAMPLES)]
    return Estimate(value, percentile(drawn, (1 - CONFIDENCE) / 2), percentile(drawn, (1 + CONFIDENCE) / 2))


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which that share of the values lies, by linear interpolation.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("no values, so no percentile")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def at_least(estimate: Estimate, goal: float) -> Verdict:
    """Return whether a value is at least the goal; `open` if the interval contains the goal or there is none."""
    if estimate.low is None or estimate.high is None:
        return "open"
    return "met" if estimate.low >= goal else "missed" if estimate.high < goal else "open"


def at_most(estimate: Estimate, goal: float) -> Verdict:
    """Return whether a value is at most the goal; `open` if the interval contains the goal or there is none."""
    if estimate.low is None or estimate.high is None:
        return "open"
    return "met" if estimate.high <= goal else "missed" if estimate.low > goal else "open"
