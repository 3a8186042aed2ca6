"""The parent of a process that must not outlive the gateway: `python guard.py GRACE_S FOLDER COMMAND...`.

Standard library only.

The gateway holds the other end of the guard's standard input. When that closes, whether the gateway closed it
or died (`kill -9` too), or when the guard gets SIGTERM, the guard stops the command and everything it started:
SIGTERM, a grace of so many seconds, SIGKILL. As a "child subreaper" it inherits grandchildren whose parent has
died, so none escapes.

Should the guard itself be killed, the kernel sends the command SIGTERM (PDEATHSIG), and its standard input
closes. That may not be enough for vLLM while it starts, but it is for another guard: the gateway runs two, one
under the other, and whichever is killed, the other stops everything.

When nothing is left it removes FOLDER, where one is given, and exits with the command's status; 128 + N if
signal N ended it.
"""

from __future__ import annotations

# ruff: noqa: S603 - running the command it is given is its work
import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
STDIN = 0

libc = ctypes.CDLL(None, use_errno=True)


def main(grace_s: float, command: list[str]) -> int:
    """Run the command; return its exit status when it and all its descendants are gone."""
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    wake = _wake_on(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    guard = os.getpid()

    def stop_with_guard() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != guard:  # it died before the line above
            os._exit(1)

    child = subprocess.Popen(command, stdin=subprocess.PIPE, preexec_fn=stop_with_guard)  # noqa: PLW1509
    while True:
        readable, _, _ = select.select([STDIN, wake], [], [])
        signals = os.read(wake, 4096) if wake in readable else b""
        statuses = _reap()
        if child.pid in statuses:
            child.returncode = statuses[child.pid]
            break
        asked = any(number != signal.SIGCHLD for number in signals)
        if asked or (STDIN in readable and not os.read(STDIN, 4096)):
            break
    statuses = _stop_descendants(grace_s)
    if child.returncode is None:
        child.returncode = statuses.get(child.pid, 1)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _wake_on(*signals: signal.Signals) -> int:
    """Return a file descriptor from which the numbers of the arriving signals can be read."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in signals:
        signal.signal(number, lambda *_: None)
    return reader


def _reap() -> dict[int, int]:
    """Return the exit status, negative for a signal, of each child that has ended, adopted ones included."""
    statuses: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            statuses[pid] = os.waitstatus_to_exitcode(status)
    return statuses


def _stop_descendants(grace_s: float) -> dict[int, int]:
    """Stop whatever still runs below this process; return the exit statuses of its children."""
    statuses = _reap()
    began = time.monotonic()
    asked: set[int] = set()
    while alive := descendants(os.getpid()):
        if time.monotonic() - began < grace_s:
            _send(signal.SIGTERM, alive - asked)
            asked |= alive
        else:
            _send(signal.SIGKILL, alive)
        time.sleep(0.02)
        statuses |= _reap()
    return statuses


def _send(number: signal.Signals, pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def descendants(root: int) -> set[int]:
    """Return the processes below `root`, ended ones that nobody has reaped included."""
    children: dict[int, list[int]] = {}
    for process in processes():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    below = [root]
    while below:
        new = children.get(below.pop(), [])
        found.update(new)
        below += new
    return found


class Process(NamedTuple):
    """What the kernel says of a process. `ended`: it only waits to be reaped."""

    pid: int
    parent: int
    session: int
    ended: bool


def processes() -> list[Process]:
    """Return every process on the machine."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            text = stat.read_text(errors="replace")
            state, parent, _, session = text.rpartition(")")[2].split()[:4]  # the name before ")" may hold anything
            found.append(Process(int(stat.parent.name), int(parent), int(session), ended=state in "ZX"))
    return found


if __name__ == "__main__":
    exit_status = main(float(sys.argv[1]), sys.argv[3:])
    if sys.argv[2]:
        shutil.rmtree(sys.argv[2], ignore_errors=True)
    sys.exit(exit_status)
