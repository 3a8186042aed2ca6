"""benchmarks/common/cpu.py against children that use as much CPU as they are asked to."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from benchmarks.common import cpu

MARGIN_S = 0.1
"""CPU time that the child may use beside its burning; it does not depend on what else runs"""
BURN = """
import sys, time
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end: pass
    print(time.process_time(), flush=True)
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {BURN!r}])
print(child.pid, flush=True)
child.wait()
"""


@pytest.fixture
def start() -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    started = []

    def popen(program: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program]
        started.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield popen
    for process in started:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def burn(process: subprocess.Popen[str], seconds: float) -> float:
    """Let the program burn CPU; return its own count of all that it has used."""
    process.stdin.write(f"{seconds}\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def test_seconds_are_those_that_the_process_itself_sees(start):
    process = start(BURN)
    for _ in range(3):
        said = burn(process, 0.1)
        assert said <= cpu.seconds(process.pid) < said + MARGIN_S


def test_a_meter_counts_from_lap_to_lap(start):
    process = start(BURN)
    burn(process, 0.3)
    meter = cpu.Meter(process.pid)
    burn(process, 0.2)
    assert 0.2 <= meter.lap() < 0.2 + MARGIN_S
    assert meter.lap() < MARGIN_S


def test_a_meter_counts_processes_below(start):
    process = start(PARENT)
    child = int(process.stdout.readline())
    assert cpu.tree(process.pid) == [process.pid, child]
    burn(process, 0.01)
    meter = cpu.Meter(process.pid)
    burn(process, 0.2)
    assert 0.2 <= meter.lap() < 0.2 + MARGIN_S


def test_a_process_that_ends_meanwhile_spoils_the_figure(start):
    process = start(PARENT)
    child = int(process.stdout.readline())
    burn(process, 0.01)
    meter = cpu.Meter(process.pid)
    process.stdin.close()  # the child ends, and the parent after it has waited for it
    process.wait(10)
    with pytest.raises(ProcessLookupError, match=str(process.pid)):
        meter.lap()
    assert child not in cpu.tree(1)


def test_a_process_that_is_not_there_is_named():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for ask in (cpu.seconds, cpu.tree, cpu.Meter):
        with pytest.raises(ProcessLookupError, match=f"no process {gone.pid}"):
            ask(gone.pid)
