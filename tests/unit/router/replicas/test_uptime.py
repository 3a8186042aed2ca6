from __future__ import annotations

import os
import signal
import time
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from router.replicas.uptime import Uptime

STEPS = st.lists(st.tuples(st.integers(0, 10**12), st.booleans()), max_size=20)


@given(st.integers(1, 10**17), STEPS)
def test_adds_up_the_time_between_up_and_down(start_ns: int, steps: list[tuple[int, bool]]) -> None:
    uptime, now, up, expected = Uptime(), start_ns, False, 0
    for wait, becomes in steps:
        now, expected = now + wait, expected + (wait if up else 0)
        assert uptime.until(Fraction(now, 10**9)) == expected / 10**9  # type: ignore[arg-type]
        uptime.note(Fraction(now, 10**9), up=becomes)  # type: ignore[arg-type]
        up = becomes


def test_a_clock_that_wendpoint_fields_before_the_change_takes_nothing_away() -> None:
    uptime = Uptime()
    uptime.note(10.0, up=True)
    assert uptime.until(9.999) == 0.0


def test_all_processes_see_it_and_it_outlives_the_one_that_writes_it() -> None:
    uptime = Uptime()
    if (pid := os.fork()) == 0:
        uptime.note(1.0, up=True)
        uptime.note(3.0, up=False)
        uptime.note(4.0, up=True)
        time.sleep(60)
    while uptime.until(100.0) != 98.0:
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert uptime.until(6.0) == 4.0
