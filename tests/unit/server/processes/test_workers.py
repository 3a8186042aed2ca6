from __future__ import annotations

from server.processes.workers import FIRST_DELAY_S, LONGEST_DELAY_S, STABLE_S, _Child


def test_one_that_dies_for_ever_is_started_for_ever() -> None:
    child = _Child("a worker", lambda: 1, lambda: None)
    delays = [child.delay_s(1.0) for _ in range(3000)]
    assert delays[0] == FIRST_DELAY_S
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY_S
    assert child.delay_s(child.began + STABLE_S) == 0.0
    assert child.delay_s(1.0) == FIRST_DELAY_S
