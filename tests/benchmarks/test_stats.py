"""The arithmetic of paired measurements, in numbers that can be checked by hand."""

from __future__ import annotations

import random
import statistics

import pytest

from benchmarks.common.stats import Estimate, at_least, at_most, bootstrap, percentile


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([3.0], 0.99, 3.0), ([1.0, 2.0, 3.0], 0.5, 2.0), ([4.0, 1.0], 0.25, 1.75), ([1.0, 2.0, 3.0, 4.0, 5.0], 1.0, 5.0)],
)
def test_percentile(values: list[float], share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_bootstrap_of_a_mean_agrees_with_theory() -> None:
    values = [random.Random(index).gauss(5, 2) for index in range(400)]
    estimate = bootstrap(values, statistics.fmean)
    half = 1.96 * statistics.stdev(values) / 20
    assert estimate.value == statistics.fmean(values)
    assert estimate.low == pytest.approx(estimate.value - half, abs=half / 5)
    assert estimate.high == pytest.approx(estimate.value + half, abs=half / 5)


def test_bootstrap_says_the_same_of_the_same() -> None:
    values = [1.0, 5.0, 2.0, 8.0]
    assert bootstrap(values, statistics.median) == bootstrap(values, statistics.median)


def test_two_units_have_no_interval() -> None:
    assert bootstrap([1.0, 2.0], statistics.fmean) == Estimate(1.5, None, None)


def test_the_text_has_an_interval_only_where_there_is_one() -> None:
    assert Estimate(0.98, 0.9751, 0.99).text(3) == "0.980 (0.975 to 0.990)"
    assert Estimate(1.5, None, None).text(1, "+") == "+1.5"


@pytest.mark.parametrize(
    ("estimate", "low", "high"),
    [
        (Estimate(0.98, 0.97, 0.99), "met", "missed"),
        (Estimate(0.96, 0.95, 0.969), "missed", "met"),
        (Estimate(0.96, 0.95, 0.98), "open", "open"),
        (Estimate(0.98, None, None), "open", "open"),
    ],
)
def test_verdicts(estimate: Estimate, low: str, high: str) -> None:
    assert at_least(estimate, 0.97) == low
    assert at_most(estimate, 0.969) == high
