from __future__ import annotations

import random
from math import exp, inf, log

import pytest

from benchmarks.routing.cascades import Cascade, cascade, raw_cascade, task
from benchmarks.routing.data import Row
from benchmarks.routing.metrics import Order, Policy, figures

MODEST, BOASTFUL = "Answer the question with one letter.", "Answer in one word."


def row(n: int, system: str, sure: float, right: bool, **fields: object) -> Row:
    """Return a call on a model that is right or not; the large one is always right and costs ten times as much."""
    known = {
        "id": str(n), "prompt": f"Question {n}: what is it?", "system": system, "task": "any", "weak": float(right),
        "strong": 1.0, "weak_usd": 1e-5, "strong_usd": 1e-4, "logconf": log(sure), "has_confidence": True,
    }  # fmt: skip
    return Row(**(known | fields))  # type: ignore[arg-type]


def mixed(calls: int, seed: int, **fields: object) -> list[Row]:
    """Return two tasks of which one says .2 to .6 where the other says .6 to .95 for the same chance to be right."""
    rng, drawn = random.Random(seed), []
    for n in range(calls):
        chance, boasts = rng.random(), rng.random() < 0.5
        sure = 0.6 + 0.35 * chance if boasts else 0.2 + 0.4 * chance
        drawn.append(row(n, BOASTFUL if boasts else MODEST, sure, rng.random() < chance, **fields))
    return drawn


def measured(rows: list[Row], policy: Policy) -> dict[str, float]:
    found = figures(Order(rows, [policy(one) for one in rows], pays_weak=True).curve())
    return {name: value for name, value in found.items() if value is not None}


def test_tasks_are_told_apart_by_what_a_server_sees() -> None:
    rows = mixed(50, 0)
    assert len({task(one) for one in rows}) == 2
    assert all((task(one) == task(rows[0])) == (one.system == rows[0].system) for one in rows)


def test_a_mixed_load_needs_a_curve_for_each_task() -> None:
    train, test = mixed(600, 1), mixed(600, 2)
    raw, ours = measured(test, raw_cascade(train)), cascade(train)
    assert measured(test, ours.calls)["apgr"] > raw["apgr"] + 0.05
    assert measured(test, ours)["usd95"] < raw["usd95"] - 0.05


def test_one_task_keeps_the_order_of_its_confidences() -> None:
    rows = [one for one in mixed(300, 3) if one.system == MODEST]
    ours, raw = measured(rows, cascade(rows).calls), measured(rows, raw_cascade(rows))
    assert ours["apgr"] == pytest.approx(raw["apgr"], abs=0.02)


def test_a_small_model_that_knows_nothing_is_skipped() -> None:
    rng = random.Random(4)
    rows = [row(n, MODEST, rng.uniform(0.2, 0.9), rng.random() < 0.2, weak_usd=5e-5) for n in range(400)]
    train, test = rows[:200], rows[200:]
    raw, ours = measured(test, raw_cascade(train)), measured(test, cascade(train))
    assert raw["usd95"] > 1.2  # nearly all are paid twice
    assert ours["usd95"] < 1.05


def test_calls_never_skip_for_the_weak_answer_costs_none() -> None:
    rows = mixed(60, 5)
    assert all(cascade(rows).calls(one).skip == -inf for one in rows[:5])


def test_a_dearer_call_has_to_bring_more() -> None:
    rng = random.Random(6)
    rows = []
    for n in range(200):
        long = rng.random() < 0.5
        prompt = f"Question {n}" + " and so on" * (60 if long else 0)
        usd = {"strong_usd": 1e-6 * len(prompt), "weak_usd": 1e-8 * len(prompt), "prompt": prompt}
        rows.append(row(n, MODEST, rng.uniform(0.2, 0.9), rng.random() < 0.5, **usd))
    ours = cascade(rows)
    short, long_one = (
        row(1, MODEST, 0.5, True, prompt="Question 1"),
        row(1, MODEST, 0.5, True, prompt=rows[0].prompt * 9),
    )
    assert ours(short).escalate > 2 * ours(long_one).escalate


@pytest.mark.parametrize(
    "without", [{"logconf": None, "has_confidence": False}, {"weak_usd": None, "strong_usd": None}]
)
@pytest.mark.parametrize("calls", [0, 1, 3, 15, 80])
def test_what_is_not_known_is_done_without(without: dict[str, object], calls: int) -> None:
    for train, test in ((mixed(calls, 7, **without), mixed(40, 8)), (mixed(calls, 7), mixed(40, 8, **without))):
        ours = cascade(train)
        assert measured(test, ours).keys() >= {"apgr"}
        assert measured(test, ours.calls).keys() >= {"apgr"}


def test_untaught_it_takes_confidences_at_their_word() -> None:
    test = mixed(200, 9)
    assert measured(test, cascade([]).calls)["apgr"] == pytest.approx(measured(test, raw_cascade([]))["apgr"])
    silent = row(0, MODEST, 0.5, True, logconf=None)
    assert cascade([]).calls(silent).escalate > max(cascade([]).calls(one).escalate for one in test)


def test_a_task_never_seen_keeps_the_order_of_its_confidences() -> None:
    train = mixed(300, 10)
    strange = [row(n, "Übersetze ins Deutsche.", exp(-n), False) for n in range(5)]
    ranks = [cascade(train).calls(one).escalate for one in strange]
    assert ranks == sorted(ranks)


def test_the_same_data_make_the_same_cascade() -> None:
    rows = mixed(100, 11)
    one, other = cascade(rows), Cascade.fit(rows)
    assert [one(each) for each in rows] == [other(each) for each in rows]
