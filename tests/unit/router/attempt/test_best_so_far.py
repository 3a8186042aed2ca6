from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.best_so_far import BestSoFar
from router.record import Attempt
from router.types import Reply


def answer(gain: float, name: str = "slm") -> BestSoFar:
    return BestSoFar(Reply(body=name.encode()), name, Attempt(name, f"{name}/0"), gain, "none")


def test_the_first_answer_is_better_than_none() -> None:
    one = answer(0.9)
    assert BestSoFar.better_of(None, one) is one


@pytest.mark.parametrize(("before", "now", "better"), [(0.5, 0.4, 1), (0.4, 0.5, 0), (0.4, 0.4, 0), (0.0, -0.1, 1)])
def test_the_better_one_leaves_the_fallback_less_to_gain_and_of_equals_it_is_the_earlier(
    before: float, now: float, better: int
) -> None:
    both = (answer(before, "a"), answer(now, "b"))
    assert BestSoFar.better_of(*both) is both[better]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_of_any_row_of_answers_the_first_of_the_least_gain_is_kept(gains: list[float]) -> None:
    best: BestSoFar | None = None
    for at, gain in enumerate(gains):
        best = BestSoFar.better_of(best, answer(gain, f"m{at}"))
    assert best is not None
    assert best.model == f"m{gains.index(min(gains))}"
