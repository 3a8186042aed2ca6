"""Who else takes the machine's time."""

from __future__ import annotations

import subprocess
import sys
import time

from benchmarks.vllm.others import TICK, Others, busy_s

STAT = "cpu  100 20 30 5000 400 5 6 7 50 60\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n"
BURN = [sys.executable, "-c", "while True: pass"]


def test_busy_is_neither_idle_nor_waiting_and_guests_count_once() -> None:
    assert busy_s(STAT) == (100 + 20 + 30 + 5 + 6 + 7) / TICK


def test_what_is_measured_is_no_other() -> None:
    burner = subprocess.Popen(BURN)
    try:
        with_it, without_it = Others(), Others(burner.pid)
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            time.sleep(0.05)
        others, rest = with_it.lap(), without_it.lap()
    finally:
        burner.kill()
        burner.wait()
    assert others - rest > 0.2, "it had a fair share of a core, whoever else runs"
