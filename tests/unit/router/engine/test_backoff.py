from __future__ import annotations

import pytest

from router.engine.backoff import backoff_s

FAILURES = (1, 2, 3, 4, 5, 6, 7, 8, 10_000)


def test_it_doubles_up_to_a_minute() -> None:
    assert [backoff_s(failures, 0.0) for failures in FAILURES] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize("failures", FAILURES)
def test_chance_takes_up_to_half_of_it_away(failures: int) -> None:
    whole = backoff_s(failures, 0.0)
    assert backoff_s(failures, 0.5) == 0.75 * whole
    assert backoff_s(failures, 1.0) == 0.5 * whole
