"""Who else takes the machine's time."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.common.background_load import TICK, BackgroundLoad, busy_s

STAT = "cpu  100 20 30 5000 400 5 6 7 50 60\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n"
ENOUGH_S, PATIENCE_S = 0.5, 30.0
BURN = [sys.executable, "-c", "while True: pass"]


def test_busy_is_neither_idle_nor_waiting_and_guests_count_once() -> None:
    assert busy_s(STAT) == (100 + 20 + 30 + 5 + 6 + 7) / TICK


def burned_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def test_what_is_measured_is_no_other() -> None:
    burner = subprocess.Popen(BURN)
    try:
        with_it, without_it, began = BackgroundLoad(), BackgroundLoad(burner.pid), time.monotonic()
        before = burned_s(burner.pid)
        while burned_s(burner.pid) - before < ENOUGH_S and time.monotonic() - began < PATIENCE_S:
            time.sleep(0.05)
        others, rest = with_it.lap(), without_it.lap()
        burned, seconds = burned_s(burner.pid) - before, time.monotonic() - began
    finally:
        burner.kill()
        burner.wait()
    assert others is not None
    assert rest is not None
    assert (others - rest) * seconds == pytest.approx(burned, abs=0.15), "whatever share of a core it had"
