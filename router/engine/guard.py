"""The parent of a process that must not outlive the gateway: `python guard.py GRACE_S FOLDER COMMAND...`.

It uses the standard library only.

The gateway keeps the other end of the guard's standard input open. The guard stops the command and all of its
descendants when that end closes, because the gateway closed it or died (even by `kill -9`), or when the guard gets
SIGTERM. It sends SIGTERM, waits GRACE_S seconds, and sends SIGKILL. When the command ends by itself, what is left of
its descendants gets SIGKILL at once. As a "child subreaper" the guard inherits grandchildren whose parent has died, so
no process escapes.

If the guard itself is killed, the kernel sends SIGTERM to the command (PDEATHSIG), and the command's standard input
closes. That may not stop a vLLM that is still starting, but it stops another guard. So the gateway runs two guards,
one under the other: if either is killed, the other stops everything.

When no process is left, the guard removes the shared memory that they had, because vLLM ends the helper process of
Python's that would do so. Then it removes FOLDER, if one is given, and exits with the command's status. The status is
128 + N if signal N ended the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
STDIN = 0
WATCHED_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
# as Python names it; a line that ends with " (deleted)" does not match
SHARED_MEMORY = re.compile(r"/dev/shm/psm_\w+$", re.MULTILINE)  # noqa: S108
COMMAND_NOT_FOUND = 127  # as shells say it

libc = ctypes.CDLL(None, use_errno=True)


def fork_under_guard(grace_s: float, *, remove_after: str = "", status_fd: int | None = None) -> None:
    """Fork. The call returns in the child only: the parent becomes the child's guard, and ends when the child has.

    At its end, the guard removes the folder `remove_after` and writes the exit status, as text, to `status_fd`.
    """
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal_pipe = _signal_pipe()
    child_stdin, guard_alive = os.pipe()
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        _end_with_guard(guard)
        os.dup2(child_stdin, STDIN)
        for fd in (child_stdin, guard_alive, signal_pipe):
            os.close(fd)
        return
    os.close(child_stdin)
    status = _watch(grace_s, child, signal_pipe)
    if remove_after:
        shutil.rmtree(remove_after, ignore_errors=True)
    if status_fd is not None:
        with contextlib.suppress(OSError):  # the gateway has gone
            os.write(status_fd, str(status).encode())
    os._exit(status)


def _end_with_guard(guard: int) -> None:
    """Undo the guard's signal handlers in its child, and let the kernel tell the child when the guard dies."""
    writer = signal.set_wakeup_fd(-1)
    os.close(writer)
    for number in WATCHED_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != guard:  # the guard died before the line above
        os._exit(1)


def _watch(grace_s: float, child: int, signal_pipe: int) -> int:
    """Wait until the child ends or the guard is told to stop, stop all descendants, and return the exit status."""
    status: int | None = None
    while True:
        readable, _, _ = select.select([STDIN, signal_pipe], [], [])
        signals = os.read(signal_pipe, 4096) if signal_pipe in readable else b""
        status = _reap_children().get(child)
        stop_requested = any(number != signal.SIGCHLD for number in signals)
        if status is not None or stop_requested or (STDIN in readable and not os.read(STDIN, 4096)):
            break
    # What a dead command leaves has no work to finish. It may hold the socket on which the command listened: whoever
    # connects then waits, for nobody answers.
    statuses = _stop_descendants(grace_s if status is None else 0.0)
    if status is None:
        status = statuses.get(child, 1)
    return status if status >= 0 else 128 - status


def _signal_pipe() -> int:
    """Return a file descriptor that yields the number of each received signal."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in WATCHED_SIGNALS:
        signal.signal(number, lambda *_: None)
    return reader


def _reap_children() -> dict[int, int]:
    """Return the exit status of each child that has ended, including adopted ones. Negative: ended by a signal."""
    statuses: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            statuses[pid] = os.waitstatus_to_exitcode(status)
    return statuses


def _stop_descendants(grace_s: float) -> dict[int, int]:
    """Stop all descendants of this process. Return the exit statuses of its children."""
    statuses = _reap_children()
    began = time.monotonic()
    terminated: set[int] = set()
    shared_memory = _shared_memory(descendants(os.getpid()))
    while alive := descendants(os.getpid()):
        if time.monotonic() - began < grace_s:
            _send_signal(signal.SIGTERM, alive - terminated)
            terminated |= alive
        else:
            _send_signal(signal.SIGKILL, alive)
        time.sleep(0.02)
        statuses |= _reap_children()
    for file in shared_memory:
        with contextlib.suppress(OSError):  # the one that made it has removed it
            os.unlink(file)
    return statuses


def _shared_memory(pids: set[int]) -> set[str]:
    """Return the files of the shared memory that these processes use."""
    files: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended
            files.update(SHARED_MEMORY.findall(Path(f"/proc/{pid}/maps").read_text(errors="replace")))
    return files


def _send_signal(number: signal.Signals, pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def descendants(root: int) -> set[int]:
    """Return the descendants of `root`, including ended ones that were not reaped."""
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
    """An entry of the process table. `ended`: the process has ended but was not reaped."""

    pid: int
    parent: int
    session: int
    ended: bool


def processes() -> list[Process]:
    """Return every process on the machine."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # the process ended meanwhile
            text = stat.read_text(errors="replace")
            # the name before ")" may contain any character
            state, parent, _, session = text.rpartition(")")[2].split()[:4]
            found.append(Process(int(stat.parent.name), int(parent), int(session), ended=state in "ZX"))
    return found


def _main(grace_s: float, folder: str, command: list[str]) -> None:
    fork_under_guard(grace_s, remove_after=folder)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it; the command expects the default
    try:
        os.execvp(command[0], command)  # noqa: S606 - the guard exists to run the given command
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(COMMAND_NOT_FOUND)


if __name__ == "__main__":
    _main(float(sys.argv[1]), sys.argv[2], sys.argv[3:])
