"""The figures, against their definitions done by hand and by luck."""

from __future__ import annotations

from itertools import permutations
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.routing.data import Row
from benchmarks.routing.metrics import Order, Rank, figures, intervals, spread


def row(weak: float, strong: float, weak_usd: float | None = None, strong_usd: float | None = None) -> Row:
    return Row("", "", "", "", weak, strong, weak_usd, strong_usd)


FOUR = [row(0, 1, 1, 10), row(1, 1, 1, 10), row(0, 0, 1, 10), row(0, 1, 1, 10)]
QUALITIES = st.lists(st.tuples(st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])), min_size=1)


def of(rows: list[Row], scores: list[float | Rank], *, pays_weak: bool = False) -> dict[str, float | None]:
    return figures(Order(rows, scores, pays_weak=pays_weak).curve())


def test_by_hand() -> None:
    # quality .25, .5, .5, .5, .75: PGR 0, .5, .5, .5, 1; 95% of .75 is reached in the last step
    found = of(FOUR, [4.0, 3.0, 2.0, 1.0])
    assert found["apgr"] == pytest.approx((0.25 + 0.5 + 0.5 + 0.75) / 4)
    assert found["cpt50"] == pytest.approx(0.25)
    assert found["cpt80"] == pytest.approx(0.75 + 0.25 * 0.6)
    at = (0.95 * 0.75 - 0.5) / 0.25
    assert found["c95"] == pytest.approx(0.75 + 0.25 * at)
    assert found["usd95"] == pytest.approx((3 * 10 + 1 + 9 * at) / 40)


def test_random_is_a_straight_line() -> None:
    found = of(FOUR, [0.0] * 4)
    assert found["apgr"] == pytest.approx(0.5)
    assert found["cpt50"] == pytest.approx(0.5)
    assert found["cpt80"] == pytest.approx(0.8)


def test_a_cascade_pays_for_the_weak_answer_too() -> None:
    order = Order(FOUR, [4.0, 3.0, 2.0, 1.0], pays_weak=True)
    usd = order.curve().usd
    assert usd is not None
    assert usd * 4 == pytest.approx([4, 14, 24, 34, 44])


def test_but_not_where_it_is_skipped() -> None:
    # the threshold falls: the first call escalates at 4 and is skipped from 2 on, the last is skipped at once
    usd = Order(FOUR[:2], [Rank(4, 2), Rank(1, 3)], pays_weak=True).curve().usd
    assert usd is not None
    assert usd * 2 == pytest.approx([2, 12, 21, 20])


def test_what_does_not_exist_is_none() -> None:
    found = of([row(1, 1), row(0, 0)], [1.0, 0.0])
    assert found == {"apgr": None, "cpt50": None, "cpt80": None, "c95": 0.0, "usd95": None}
    assert of([row(0, 1, 1, None)], [1.0])["usd95"] is None
    assert of([row(0, 1, 0, 0)], [1.0])["usd95"] is None


def test_no_number_is_no_score() -> None:
    with pytest.raises(ValueError, match="not a number"):
        Order(FOUR, [float("nan")] * 4, pays_weak=False)


@settings(deadline=None)
@given(st.lists(st.sampled_from([(0, 1), (1, 0), (1, 1), (0, 0), (0.5, 1)]), min_size=1, max_size=4), st.booleans())
def test_ties_are_the_mean_over_all_orders(qualities: list[tuple[float, float]], pays_weak: bool) -> None:
    rows = [row(weak, strong, 1, 5) for weak, strong in qualities]
    tied = of(rows, [0.0] * len(rows), pays_weak=pays_weak)
    each = [
        of(list(order), [float(-place) for place in range(len(rows))], pays_weak=pays_weak)
        for order in permutations(rows)
    ]
    if tied["apgr"] is None:
        assert all(one["apgr"] is None for one in each)
    else:
        assert tied["apgr"] == pytest.approx(fmean(one["apgr"] or 0.0 for one in each))


@settings(deadline=None)
@given(QUALITIES, st.data())
def test_the_oracle_is_never_beaten(qualities: list[tuple[float, float]], data: st.DataObject) -> None:
    rows = [row(weak, strong, 1, 5) for weak, strong in qualities]
    scores = data.draw(st.lists(st.floats(allow_nan=False), min_size=len(rows), max_size=len(rows)))
    best, other = of(rows, [one.gain for one in rows]), of(rows, scores)
    if sum(one.gain for one in rows) > 0:
        assert (best["apgr"] or 0.0) >= (other["apgr"] or 0.0) - 1e-9
    assert (best["c95"] or 0.0) <= (other["c95"] or 0.0) + 1e-9
    assert (best["usd95"] or 0.0) <= (other["usd95"] or 0.0) + 1e-9


@settings(deadline=None)
@given(QUALITIES, st.data())
def test_only_the_order_counts(qualities: list[tuple[float, float]], data: st.DataObject) -> None:
    rows = [row(weak, strong, 1, 5) for weak, strong in qualities]
    scores = data.draw(st.lists(st.integers(-5, 5), min_size=len(rows), max_size=len(rows)))
    found = of(rows, [float(score) for score in scores])
    assert found == of(rows, [2.0 * score + 7 for score in scores])
    shuffled = data.draw(st.permutations(range(len(rows))))
    again = of([rows[place] for place in shuffled], [float(scores[place]) for place in shuffled])
    assert found == {key: pytest.approx(value) if value is not None else None for key, value in again.items()}


def test_a_sample_counts_each_call_as_often_as_it_was_drawn() -> None:
    scores: list[float | Rank] = [Rank(4, 2), 3.0, Rank(2, 2), 1.0]
    drawn = [0, 0, 2, 3]
    weights = np.bincount(drawn, minlength=4).astype(np.float64)
    weighted = Order(FOUR, scores, pays_weak=True).curve(weights)
    repeated = Order([FOUR[place] for place in drawn], [scores[place] for place in drawn], pays_weak=True).curve()
    assert figures(weighted) == pytest.approx(figures(repeated))


def test_intervals() -> None:
    same, oracle = (Order(FOUR, scores, pays_weak=False) for scores in ([1.0] * 4, [1.0, 0.0, 0.0, 1.0]))
    orders = {"same": (same, same), "oracle": (oracle, oracle), "both": (same, oracle)}
    drawn = intervals(orders, 4, times=50, seed=1)
    assert drawn["both"]["c95"] == pytest.approx(drawn["same"]["c95"])
    assert drawn["both"]["usd95"] == pytest.approx(drawn["oracle"]["usd95"])
    assert spread(drawn["same"]["apgr"]) == pytest.approx((0.5, 0.5))
    low, high = spread(drawn["oracle"]["apgr"]) or (0, 0)
    assert 0.5 <= low < high <= 1.0
    assert spread(intervals(orders, 4, times=0, seed=1)["same"]["apgr"]) is None
