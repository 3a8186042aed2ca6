"""Is the small model's answer worth a look? One threshold divides yes and no."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from router.learning.value_of_information import skip_threshold, value_of_information

GAINS = st.lists(st.floats(-0.5, 1), min_size=1, max_size=30).map(sorted)


@given(GAINS, st.floats(0, 1.5), st.floats(0.001, 2))
@example([0.1, 0.5], 0.0, 0.1)
def test_looking_has_a_value_just_above_the_threshold(gains: list[float], price: float, threshold: float) -> None:
    until = skip_threshold(gains, price)
    assume(threshold == until or abs(threshold - until) > 1e-9)
    if threshold > until:
        assert value_of_information(gains, threshold, price) > -1e-12
    else:
        assert value_of_information(gains, threshold, price) <= 1e-12


def test_what_it_is_worth() -> None:
    assert value_of_information([0.1, 0.5], 0.3, 0.1) == pytest.approx(0.2 / 2 - 0.03)
    assert value_of_information([0.4], 0.3, 0.1) == pytest.approx(-0.03)


def test_what_is_as_dear_is_never_looked_at() -> None:
    assert skip_threshold([0.0, 0.0], 1.0) == inf
    assert skip_threshold([0.2], 0.5) == pytest.approx(0.4)  # looking at 0.5 t spares t or nothing: t is twice the gain


def test_what_costs_nothing_is_looked_at_where_it_may_do() -> None:
    assert skip_threshold([0.1, 0.5], 0.0) == 0.1
