from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from router.replicas.begin_times import MAX_AGE_S, MAX_SAMPLES, MIN_SAMPLES, BeginTimes


def noted(*seconds: float, now: float = 0.0) -> BeginTimes:
    times = BeginTimes()
    for one in seconds:
        times.note(one, now)
    return times


def test_few_streams_have_no_percentile() -> None:
    assert noted(*[0.1] * (MIN_SAMPLES - 1)).p95(0.0) is None
    assert noted(*[0.1] * MIN_SAMPLES).p95(0.0) == 0.1


def test_one_in_twenty_is_above_it() -> None:
    assert noted(*(at / 100 for at in range(100))).p95(0.0) == 0.95


def test_the_oldest_make_room() -> None:
    assert noted(*[9.0] * 100, *[0.1] * MAX_SAMPLES).p95(0.0) == 0.1


def test_old_ones_are_forgotten() -> None:
    times = noted(*[9.0] * 100)
    assert times.p95(MAX_AGE_S) == 9.0
    assert times.p95(MAX_AGE_S + 1) is None
    for _ in range(MIN_SAMPLES):
        times.note(0.1, MAX_AGE_S + 2)
    assert times.p95(MAX_AGE_S + 2) == 0.1


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 50)), max_size=300))
def test_it_is_a_time_that_was_noted_lately(events: list[tuple[float, float]]) -> None:
    times, now = BeginTimes(), 0.0
    lately: list[tuple[float, float]] = []
    for seconds, later in events:
        now += later
        times.note(seconds, now)
        lately = [(at, one) for at, one in [*lately, (now, seconds)] if at >= now - MAX_AGE_S][-MAX_SAMPLES:]
        values = sorted(one for _, one in lately)
        expected = values[len(values) * 95 // 100] if len(values) >= MIN_SAMPLES else None
        assert times.p95(now) == expected
