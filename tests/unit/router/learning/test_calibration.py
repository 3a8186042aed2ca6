from __future__ import annotations

import random
from itertools import pairwise
from math import inf, nan
from statistics import fmean

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.learning.calibration import MIN_TASK_CALLS, Calibration, Isotonic, guaranteed_threshold, max_disagreements

SCORES = st.floats(-100, 100)
LABELS = st.floats(0, 1)
POINTS = st.lists(st.tuples(SCORES, LABELS), min_size=1, max_size=40)
CALLS = st.lists(st.tuples(st.sampled_from("abc"), SCORES, LABELS), max_size=80)


def fitted(points: list[tuple[float, float]]) -> Isotonic:
    return Isotonic.fit([score for score, _ in points], [label for _, label in points])


def test_what_rises_is_kept_and_what_falls_is_pooled() -> None:
    curve = Isotonic.fit([4.0, 1.0, 2.0, 3.0], [1.0, 0.0, 0.8, 0.2])
    assert curve == Isotonic((1.0, 2.5, 4.0), (0.0, 0.5, 1.0))
    assert [curve(score) for score in (-9.0, 1.0, 1.75, 2.5, 9.0)] == [0.0, 0.0, 0.25, 0.5, 1.0]


def test_the_same_score_has_one_value() -> None:
    curve = Isotonic.fit([1.0, 1.0, 1.0, 2.0], [0.0, 1.0, 1.0, 1.0])
    assert curve.centres == (1.0, 2.0)
    assert curve(1.0) == pytest.approx(2 / 3)


def test_a_weight_is_a_repetition() -> None:
    once = Isotonic.fit([1.0, 2.0, 3.0], [1.0, 0.0, 1.0], [2.0, 1.0, 3.0])
    repeated = Isotonic.fit([1.0, 1.0, 2.0, 3.0, 3.0, 3.0], [1.0, 1.0, 0.0, 1.0, 1.0, 1.0])
    assert once(1.7) == pytest.approx(repeated(1.7))
    assert once.values == pytest.approx(repeated.values)


@given(POINTS)
def test_a_curve_never_falls(points: list[tuple[float, float]]) -> None:
    curve = fitted(points)
    assert all(low < high for low, high in pairwise(curve.centres))
    assert all(0 <= low <= high <= 1 for low, high in pairwise(curve.values))
    seen = [curve(score) for score in sorted(score for score, _ in points)]
    assert all(low <= high + 1e-12 and 0 <= low <= 1 for low, high in pairwise(seen))


@given(st.lists(st.tuples(st.integers(-50, 50), st.booleans()), min_size=1, max_size=25, unique_by=lambda at: at[0]))
def test_the_values_are_those_of_the_min_max_formula(points: list[tuple[int, bool]]) -> None:
    """The least squares solution is max over a <= i of min over b >= i of the mean of a..b (Barlow et al., 1.4)."""
    labels = [float(label) for _, label in sorted(points)]
    places = range(len(labels))
    exact = {max(min(fmean(labels[a : b + 1]) for b in places[i:]) for a in places[: i + 1]) for i in places}
    assert fitted([(float(score), float(label)) for score, label in points]).values == pytest.approx(sorted(exact))


@pytest.mark.parametrize(
    ("scores", "labels", "weights"),
    [
        ([], [], None),
        ([1.0], [], None),
        ([1.0], [1.0], [1.0, 2.0]),
        ([inf], [1.0], None),
        ([nan], [1.0], None),
        ([1.0], [1.1], None),
        ([1.0], [nan], None),
        ([1.0], [1.0], [0.0]),
    ],
)
def test_refuses_what_is_no_data(scores: list[float], labels: list[float], weights: list[float] | None) -> None:
    with pytest.raises(ValueError, match=r"must|needs"):
        Isotonic.fit(scores, labels, weights)


def two_tasks(calls: int, seed: int = 0) -> list[tuple[str, float, float]]:
    """Return calls of which score 0 is good in one task and bad in the other."""
    rng = random.Random(seed)
    centre = {"modest": -3.0, "boastful": 3.0}
    drawn = [(rng.choice(list(centre)), rng.gauss(0, 3)) for _ in range(calls)]
    return [(task, score, float(score + rng.gauss(0, 1) > centre[task])) for task, score in drawn]


def test_tasks_that_differ_have_their_own_curves() -> None:
    calibration = Calibration.fit(two_tasks(400))
    assert calibration.probability("modest", 0.0) > 0.9
    assert calibration.probability("boastful", 0.0) < 0.1
    assert 0.3 < calibration.probability("never seen", 0.0) < 0.7


def test_tasks_that_do_not_differ_share_one_curve() -> None:
    rng = random.Random(1)
    scores = [rng.gauss(0, 2) for _ in range(600)]
    calls = [(rng.choice("ab"), score, float(rng.gauss(0, 2) < score)) for score in scores]
    calibration = Calibration.fit(calls)
    assert all(share < 0.6 for share, _ in calibration.tasks.values())


def test_a_task_with_few_calls_goes_by_the_route() -> None:
    calls = [*two_tasks(400), *(("rare", float(n), 0.0) for n in range(MIN_TASK_CALLS - 1))]
    calibration = Calibration.fit(calls)
    assert set(calibration.tasks) == {"modest", "boastful"}
    assert calibration.probability("rare", 1.0) == calibration.probability("never seen", 1.0)


def test_more_calls_earn_more_weight() -> None:
    calls = [call for call in two_tasks(800) if call[0] == "modest"] + [
        call for call in two_tasks(200, seed=2) if call[0] == "boastful"
    ]
    tasks = Calibration.fit(calls).tasks
    assert tasks["modest"][0] > tasks["boastful"][0] > 0.5


def test_nothing_known_is_never_good_enough() -> None:
    assert Calibration.fit([]).probability("any", 100.0) == 0.0


@given(CALLS, SCORES, SCORES, st.sampled_from("abcd"))
def test_a_surer_answer_is_never_less_probable(
    calls: list[tuple[str, float, float]], one: float, other: float, task: str
) -> None:
    calibration = Calibration.fit(calls)
    low, high = sorted((one, other))
    assert 0 <= calibration.probability(task, low) <= calibration.probability(task, high) + 1e-12 <= 1 + 1e-12


@given(CALLS, SCORES)
def test_survives_json(calls: list[tuple[str, float, float]], score: float) -> None:
    calibration = Calibration.fit(calls)
    again = msgspec.json.decode(msgspec.json.encode(calibration), type=Calibration)
    assert [again.probability(task, score) for task in "abcd"] == [
        calibration.probability(task, score) for task in "abcd"
    ]


# of n comparisons, so many disagreements leave the upper 90% bound at most .05; with 45 even none are too few
@pytest.mark.parametrize(("comparisons", "most"), [(0, -1), (44, -1), (45, 0), (77, 1), (76, 0), (105, 2), (500, 18)])
def test_how_many_disagreements_are_allowed(comparisons: int, most: int) -> None:
    assert max_disagreements(comparisons, 0.05, 0.1) == most


def test_the_loosest_threshold_lets_in_just_what_is_allowed() -> None:
    comparisons = [(float(score), score in (3, 40, 70)) for score in range(77)]
    threshold = guaranteed_threshold(comparisons, max_risk=0.05, delta=0.1)
    assert threshold is not None
    assert 40 < threshold <= 41
    assert guaranteed_threshold(comparisons[:44], max_risk=0.05, delta=0.1) is None
    assert guaranteed_threshold([(score, False) for score, _ in comparisons], max_risk=0.05, delta=0.1) == -inf


@given(st.lists(st.tuples(st.integers(0, 5).map(float), st.booleans()), max_size=120), st.floats(0.02, 0.5))
def test_calls_with_the_same_score_stand_on_one_side(comparisons: list[tuple[float, bool]], risk: float) -> None:
    threshold = guaranteed_threshold(comparisons, max_risk=risk, delta=0.1)
    allowed = max_disagreements(len(comparisons), risk, 0.1)
    if threshold is None:
        assert allowed < 0
        return
    assert sum(disagree for score, disagree in comparisons if score >= threshold) <= allowed
    looser = [score for score, _ in comparisons if score < threshold]
    assert not looser or sum(disagree for score, disagree in comparisons if score >= max(looser)) > allowed


def test_the_risk_is_exceeded_in_at_most_delta_of_the_runs() -> None:
    """Scores are uniform and the models disagree with P = (1 - score) / 2, so R(t) = (1 - t)^2 / 4 is known."""
    rng = random.Random(7)
    runs, exceeded, kept = 400, 0, 0.0
    for _ in range(runs):
        scores = [rng.random() for _ in range(300)]
        threshold = guaranteed_threshold(
            [(score, rng.random() < (1 - score) / 2) for score in scores], max_risk=0.05, delta=0.1
        )
        assert threshold is not None
        exceeded += (1 - threshold) ** 2 / 4 > 0.05
        kept += (1 - threshold) / runs
    assert exceeded / runs <= 0.1
    assert kept > 0.3  # of at most sqrt(.2) = .45: the bound is not bought with idleness


def test_equal_scores_are_one_block_whatever_came_before() -> None:
    curve = Isotonic.fit([0] * 10 + [1] * 10, [0] * 9 + [1] + [0] + [1] * 9)
    assert (curve.centres, curve.values) == ((0.0, 1.0), (0.1, 0.9))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1)), min_size=1, max_size=60))
def test_few_different_scores_have_their_own_means_where_those_rise(data: list[tuple[int, int]]) -> None:
    scores, labels = zip(*data, strict=True)
    curve = Isotonic.fit(scores, labels)
    means = [fmean(label for other, label in data if other == score) for score in sorted(set(scores))]
    if all(low < high for low, high in pairwise(means)):
        assert list(curve.values) == pytest.approx(means)
    assert all(low < high for low, high in pairwise(curve.values))


@pytest.mark.parametrize(
    ("centres", "values"), [((), ()), ((1.0,), ()), ((1.0, 0.0), (0.1, 0.9)), ((0.0, 1.0), (0.9, 0.1))]
)
def test_a_curve_that_no_fit_makes_is_refused(centres: tuple[float, ...], values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="isotonic curve"):
        Isotonic(centres, values)
