"""Whatever dies, and however: nothing that the engine started stays behind. Real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from router.engine import guard, process
from router.engine.process import Guarded, explain

# Starts a grandchild whose parent dies at once; both ignore SIGTERM, as a stuck vLLM would.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    if os.fork() != 0:
        os._exit(0)
open(f"{sys.argv[1]}/{os.getpid()}", "w").close()
time.sleep(600)
"""
PROCESSES = 2
# The grandchild goes into a session of its own, as a worker of vLLM's may.
AWAY = STUBBORN.replace("os._exit(0)", "os._exit(0)\n    os.setsid()")

# A gateway of a few lines: it starts STUBBORN and then only lives.
GATEWAY = """
import asyncio, os, subprocess, sys
from router.engine import process
from router.engine.process import Guarded
process.GUARD = (*process.GUARD[:-1], "0.3")
async def main():
    command = [sys.executable, "-c", sys.argv[1], sys.argv[2]]
    output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    await Guarded.start(command, dict(os.environ), **output, remove_after=sys.argv[3] if sys.argv[3:] else None)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GUARD", (*process.GUARD[:-1], "0.3"))


def alive(folder: Path) -> list[int]:
    return [int(file.name) for file in folder.iterdir() if Path("/proc", file.name).exists()]


def wait_until(condition: Callable[[], bool], limit_s: float = 10) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def start(*command: str, stdout: int = subprocess.DEVNULL) -> Guarded:
    argv = (sys.executable, "-c", *command)
    return await Guarded.start(argv, dict(os.environ), stdout=stdout, stderr=subprocess.DEVNULL)


async def start_stubborn(folder: Path) -> Guarded:
    subject = await start(STUBBORN, str(folder))
    await asyncio.to_thread(wait_until, lambda: len(alive(folder)) == PROCESSES)
    return subject


@pytest.mark.parametrize(("code", "status"), [("", 0), ("exit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
async def test_the_status_is_the_commands(code: str, status: int) -> None:
    subject = await start(code)
    assert await subject.exited() == status
    await subject.stop()


async def test_output_comes_line_by_line() -> None:
    subject = await start("print('one'); print('two')", stdout=subprocess.PIPE)
    assert [line async for line in subject.output()] == [b"one\n", b"two\n"]
    await subject.stop()


async def test_no_status_while_it_runs() -> None:
    subject = await start("import time; time.sleep(600)")
    assert await subject.exited(0.05) is None
    await subject.stop()
    assert await subject.exited() == 128 + signal.SIGTERM


async def test_stop_ends_the_whole_tree_and_may_be_repeated(tmp_path: Path) -> None:
    subject = await start_stubborn(tmp_path)
    await subject.stop()
    assert alive(tmp_path) == []
    await subject.stop()


async def test_the_end_of_the_command_ends_what_it_started(tmp_path: Path) -> None:
    subject = await start_stubborn(tmp_path)
    command = min(alive(tmp_path))  # it came first
    os.kill(command, signal.SIGKILL)
    assert await subject.exited(5) is not None
    assert alive(tmp_path) == []
    await subject.stop()


# What the command started has the socket on which it listens, and ignores SIGTERM.
LISTENING = """
import os, signal, socket, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
listening.listen()
os.fork()
print(flush=True)
time.sleep(600)
"""


async def test_nothing_keeps_the_socket_of_a_command_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "GUARD", (*process.GUARD[:-1], "600"))  # a grace that no test outlives
    path = str(tmp_path / "socket")
    subject = await start(LISTENING, path, stdout=subprocess.PIPE)
    await anext(subject.output())
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    command = next(entry.pid for entry in guard.processes() if entry.parent == inner_guard(subject))
    os.kill(command, signal.SIGKILL)
    assert await subject.exited(60) == 137
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(path)
    await subject.stop()


SHARING = """
import os, sys, time
from multiprocessing.shared_memory import SharedMemory
memory = SharedMemory(create=True, size=1000)
if os.fork() == 0:
    time.sleep(600)  # it uses the memory, too
from multiprocessing import resource_tracker
os.kill(resource_tracker._resource_tracker._pid, 9)  # as vLLM does at its end
print(memory.name, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["stopped", "killed"])
async def test_shared_memory_does_not_stay(how: str) -> None:
    subject = await start(SHARING, stdout=subprocess.PIPE)
    name = (await anext(subject.output())).decode().strip()
    assert name in os.listdir("/dev/shm")
    if how == "killed":
        command = next(entry.pid for entry in guard.processes() if entry.parent == inner_guard(subject))
        os.kill(command, signal.SIGKILL)
        assert await subject.exited(5) == 137
    await subject.stop()
    assert name not in os.listdir("/dev/shm")


async def test_sigterm_to_the_guard_ends_the_whole_tree(tmp_path: Path) -> None:
    subject = await start_stubborn(tmp_path)
    os.kill(subject.pid, signal.SIGTERM)
    assert await subject.exited(5) is not None
    assert alive(tmp_path) == []
    await subject.stop()


async def test_a_killed_guard_leaves_nothing_once_its_owner_stops(tmp_path: Path) -> None:
    subject = await start_stubborn(tmp_path)
    os.kill(subject.pid, signal.SIGKILL)
    await subject.stop()
    await asyncio.to_thread(wait_until, lambda: alive(tmp_path) == [])


async def test_a_killed_guard_leaves_nothing_in_other_sessions_either(tmp_path: Path) -> None:
    subject = await start(AWAY, str(tmp_path))
    await asyncio.to_thread(wait_until, lambda: len(alive(tmp_path)) == PROCESSES)
    sessions = {entry.session for entry in guard.processes() if entry.pid in alive(tmp_path)}
    assert len(sessions) == PROCESSES
    os.kill(subject.pid, signal.SIGKILL)
    await subject.stop()
    assert alive(tmp_path) == []


def test_a_killed_gateway_leaves_nothing(tmp_path: Path) -> None:
    gateway = subprocess.Popen([sys.executable, "-c", GATEWAY, STUBBORN, str(tmp_path)])
    wait_until(lambda: len(alive(tmp_path)) == PROCESSES)
    gateway.kill()
    gateway.wait()
    wait_until(lambda: alive(tmp_path) == [])


def test_the_guard_of_a_killed_gateway_removes_the_private_folder(tmp_path: Path) -> None:
    private, pids = tmp_path / "private", tmp_path / "pids"
    for folder in (private, pids):
        folder.mkdir()
    (private / "vllm.sock").touch()
    gateway = subprocess.Popen([sys.executable, "-c", GATEWAY, STUBBORN, str(pids), str(private)])
    wait_until(lambda: len(alive(pids)) == PROCESSES)
    gateway.kill()
    gateway.wait()
    wait_until(lambda: not private.exists())
    assert alive(pids) == []


@pytest.mark.parametrize("which", ["inner", "outer"])
def test_a_killed_gateway_and_guard_leave_nothing(tmp_path: Path, which: str) -> None:
    gateway = subprocess.Popen([sys.executable, "-c", GATEWAY, STUBBORN, str(tmp_path)])
    wait_until(lambda: len(alive(tmp_path)) == PROCESSES)
    inner = parent(min(alive(tmp_path)))
    gateway.send_signal(signal.SIGSTOP)  # it sees nothing of what follows
    os.kill(inner if which == "inner" else parent(inner), signal.SIGKILL)
    gateway.kill()
    gateway.wait()
    wait_until(lambda: alive(tmp_path) == [])


async def test_a_command_that_cannot_be_found_ends_the_guard() -> None:
    subject = await Guarded.start(("/nonexistent/command",), {}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert await subject.exited(5) == 127
    await subject.stop()


def inner_guard(subject: Guarded) -> int:
    return next(entry.pid for entry in guard.processes() if entry.parent == subject.pid)


def parent(pid: int) -> int:
    return next(entry.parent for entry in guard.processes() if entry.pid == pid)


def test_exit_statuses_are_explained() -> None:
    assert explain(3) == "exited with status 3"
    assert explain(137) == explain(-9) == "was ended by SIGKILL"
    assert explain(255) == "exited with status 255"
