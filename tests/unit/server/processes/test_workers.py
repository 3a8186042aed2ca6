from __future__ import annotations

from server.processes.workers import FIRST_RESTART_DELAY_S, MAX_RESTART_DELAY_S, STABLE_AFTER_S, _ChildProcess


def test_one_that_dies_for_ever_is_started_for_ever() -> None:
    child = _ChildProcess("a worker", lambda: 1, lambda: None)
    delays = [child.restart_delay_s(1.0) for _ in range(3000)]
    assert delays[0] == FIRST_RESTART_DELAY_S
    assert delays == sorted(delays)
    assert delays[-1] == MAX_RESTART_DELAY_S
    assert child.restart_delay_s(child.started_at + STABLE_AFTER_S) == 0.0
    assert child.restart_delay_s(1.0) == FIRST_RESTART_DELAY_S
