from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from router.replicas.shared_memory import MAX_CELL, Lock, cells


def in_a_child(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def test_cells_are_zero_whole_and_common_to_all_forked() -> None:
    shared = cells(4)
    assert shared.tolist() == [0, 0, 0, 0]

    def write() -> None:
        shared[1], shared[2] = MAX_CELL, -MAX_CELL - 1

    os.waitpid(in_a_child(write), 0)
    assert shared.tolist() == [0, MAX_CELL, -MAX_CELL - 1, 0]
    with pytest.raises(ValueError, match="invalid value"):
        shared[1] += 1


def test_one_process_at_a_time() -> None:
    shared, lock = cells(1), Lock()

    def count() -> None:
        for _ in range(2000):
            with lock:
                shared[0] += 1

    for child in [in_a_child(count) for _ in range(3)]:
        os.waitpid(child, 0)
    assert shared[0] == 6000


def test_the_kernel_frees_what_a_killed_process_held() -> None:
    shared, lock = cells(1), Lock()

    def hold() -> None:
        with lock:
            shared[0] = 1
            time.sleep(60)

    child = in_a_child(hold)
    while not shared[0]:
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    with lock:
        pass
    os.waitpid(child, 0)


def test_it_is_not_taken_twice() -> None:
    lock = Lock()
    with lock, pytest.raises(RuntimeError, match="already"), lock:
        pass
    with pytest.raises(ZeroDivisionError), lock:
        1 / 0  # noqa: B018
    with lock:
        pass


def test_nothing_is_left_open() -> None:
    Lock()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        Lock()
    assert len(os.listdir("/proc/self/fd")) == before
