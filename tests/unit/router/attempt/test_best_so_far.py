from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.best_so_far import EMPTY, BestSoFar
from router.record import Attempt, RequestRecord
from router.types import Reply


def better_of(before: BestSoFar | None, gain: float, name: str = "slm") -> BestSoFar:
    record = RequestRecord("req_1", 0.0, attempts=[Attempt("earlier", "earlier/0"), Attempt(name, f"{name}/0")])
    return BestSoFar.better_of(before, Reply(body=name.encode()), record, gain)


def test_the_first_answer_is_better_than_none() -> None:
    one = better_of(None, 0.9)
    assert (one.model, one.reply.body, one.attempt.replica, one.gain) == ("slm", b"slm", "slm/0", 0.9)


def test_any_answer_is_better_than_an_empty_one() -> None:
    empty = better_of(None, EMPTY, "a")
    assert empty.is_empty
    assert better_of(empty, EMPTY, "b") is empty
    assert not better_of(empty, 1e6, "c").is_empty


@pytest.mark.parametrize(("before", "now", "better"), [(0.5, 0.4, 1), (0.4, 0.5, 0), (0.4, 0.4, 0), (0.0, -0.1, 1)])
def test_the_better_one_leaves_the_fallback_less_to_gain_and_of_equals_it_is_the_earlier(
    before: float, now: float, better: int
) -> None:
    assert better_of(better_of(None, before, "a"), now, "b").model == "ab"[better]


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=8))
def test_of_any_row_of_answers_the_first_of_the_least_gain_is_kept(gains: list[float]) -> None:
    best: BestSoFar | None = None
    for at, gain in enumerate(gains):
        best = better_of(best, gain, f"m{at}")
    assert best is not None
    assert best.model == f"m{gains.index(min(gains))}"
