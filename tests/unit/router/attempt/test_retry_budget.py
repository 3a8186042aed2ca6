"""The budget is never exceeded, whatever comes when; the clock is an argument."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.attempt.retry_budget import WINDOW_S, RetryBudget

SHARE, FLOOR = 0.1, 3


def spent(budget: RetryBudget, now: float, tries: int) -> int:
    return sum(budget.withdraw(now) for _ in range(tries))


def test_a_quiet_server_has_the_floor() -> None:
    assert spent(RetryBudget(SHARE, FLOOR), 100.0, 10) == FLOOR


def test_traffic_adds_its_share() -> None:
    budget = RetryBudget(SHARE, FLOOR)
    for _ in range(50):
        budget.count_request(100.2)
    assert spent(budget, 100.9, 100) == FLOOR + 5


def test_what_is_older_than_the_window_counts_no_more() -> None:
    budget = RetryBudget(SHARE, FLOOR)
    for _ in range(50):
        budget.count_request(100.0)
    assert spent(budget, 100.0, 100) == FLOOR + 5
    assert spent(budget, 100.0 + WINDOW_S - 0.5, 100) == 0
    assert spent(budget, 100.0 + WINDOW_S, 100) == FLOOR, "neither the requests nor the retries"


def test_a_clock_that_goes_back_opens_nothing() -> None:
    budget = RetryBudget(SHARE, FLOOR)
    assert spent(budget, 100.0, 10) == FLOOR
    budget.count_request(50.0)  # it was received before it had to wait for a slot
    assert spent(budget, 50.0, 10) == 0


EVENTS = st.lists(st.tuples(st.sampled_from(["request", "retry"]), st.floats(0, 4)), max_size=200)


@given(EVENTS, st.integers(0, 5))
def test_in_no_window_are_more_retries_than_the_share_of_its_requests_and_the_floor(
    events: list[tuple[str, float]], floor: int
) -> None:
    budget, now = RetryBudget(SHARE, floor), 1000.0
    requests: list[int] = []
    retries: list[int] = []
    for kind, later in events:
        now += later
        if kind == "request":
            requests.append(int(now))
            budget.count_request(now)
        elif budget.withdraw(now):
            retries.append(int(now))
            begin = int(now) - WINDOW_S
            assert sum(at > begin for at in retries) <= floor + SHARE * sum(at > begin for at in requests)
    windows = (int(now) - 1000) // WINDOW_S + 1
    assert len(retries) <= floor * windows + SHARE * len(requests), "no request pays for two retries"
