from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.replicas.balance import least_loaded


@given(st.lists(st.integers(0, 5), min_size=1), st.integers(0, 10**9))
def test_takes_a_least_loaded_one(in_flight: list[int], turn: int) -> None:
    assert in_flight[least_loaded(in_flight, turn)] == min(in_flight)


@given(st.lists(st.integers(0, 3), min_size=1), st.integers(0, 10**6))
def test_equals_take_turns(in_flight: list[int], start: int) -> None:
    equals = in_flight.count(min(in_flight))
    turns = Counter(least_loaded(in_flight, start + turn) for turn in range(3 * equals))
    assert len(turns) == equals
    assert set(turns.values()) == {3}


def test_of_none_there_is_no_choice() -> None:
    with pytest.raises(ValueError, match="empty"):
        least_loaded([], 0)
