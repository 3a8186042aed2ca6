"""One gateway in several processes: a parent that starts and stops the others, a fleet process, and the workers.

    parent ─┬─ fleet      supervises and probes the replicas
            ├─ worker 1   serves requests
            └─ worker 2

The parent restarts a child that dies. Two pipes show which processes are alive, because the kernel closes a process's
write ends however it dies:

    parent_alive    read by the workers. Only the parent has the write end: workers drain when the parent is gone.
    gateway_alive   read by the fleet. The parent and all workers have it: the fleet stops when all of them are gone.

The parent has no event loop and no threads, because a process with threads must not fork.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from socket import socket
from time import monotonic
from typing import NoReturn, Protocol

from router.engine.guard import PR_SET_CHILD_SUBREAPER, libc, processes
from router.engine.process import explain

log = logging.getLogger("smallfirst.workers")

FIRST_RESTART_DELAY_S, MAX_RESTART_DELAY_S = 0.1, 5.0
STABLE_AFTER_S = 10.0  # a child that ran for so long is restarted without a delay
WORKER_EXIT_MARGIN_S = 10.0  # time after the grace period before a worker is killed
FLEET_EXIT_TIMEOUT_S = 60.0  # time to stop the vLLM processes; if the fleet is killed, their guards stop them
ORPHAN_WAIT_S, ORPHAN_POLL_S = 30.0, 0.2  # longest wait for a dead fleet's vLLM processes before new ones start


class ProcessRoles(Protocol):
    """The work of each child process, and what the parent does after a child has died."""

    def serve(self, worker: int, listener: socket, parent_alive: int) -> int:
        """Serve until SIGTERM or until the pipe `parent_alive` ends. Return the exit status."""
        ...

    def run_fleet(self, gateway_alive: int, *, restarted: bool) -> int:
        """Run the fleet until the pipe `gateway_alive` ends. Return the exit status.

        `restarted` is true if an earlier fleet process died.
        """
        ...

    def release_worker(self, worker: int) -> None:
        """Release what a dead worker occupied."""
        ...

    def mark_down(self) -> None:
        """Mark the replicas of a dead fleet as down."""
        ...


@dataclass(slots=True)
class _ChildProcess:
    """A child. `start_at` is the time of its next start, or None while it runs. Times are of the monotonic clock."""

    name: str
    run: Callable[[], int]
    on_exit: Callable[[], None]
    pid: int = 0
    start_at: float | None = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    failures: int = 0

    def restart_delay_s(self, now: float) -> float:
        """Return the delay before the restart of a child that has just ended. Repeated failures double it."""
        self.failures = 0 if now - self.started_at >= STABLE_AFTER_S else self.failures + 1
        if not self.failures:
            return 0.0
        return min(FIRST_RESTART_DELAY_S * 2.0 ** min(self.failures - 1, 10), MAX_RESTART_DELAY_S)


class ParentProcess:
    """Keeps the fleet and one worker for each listener running until a signal stops it.

    `grace_s` is how long running requests may take after that signal.
    """

    def __init__(self, roles: ProcessRoles, listeners: Sequence[socket], grace_s: float) -> None:
        self._roles = roles
        self._listeners = listeners
        self._grace_s = grace_s
        self._parent_pipe, self._gateway_pipe = os.pipe(), os.pipe()
        self._fleet = _ChildProcess("the fleet", self._run_fleet, roles.mark_down)
        self._workers = [
            _ChildProcess(
                f"worker {number + 1}", partial(self._run_worker, number), partial(roles.release_worker, number)
            )
            for number in range(len(listeners))
        ]
        self._stop_signals = {signal.SIGTERM, signal.SIGINT}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup has it ignored
            self._stop_signals.add(signal.SIGHUP)
        self._stopping = False

    def run(self) -> int:
        """Run until all children have ended. Return 0 after Ctrl-C; else end by SIGTERM."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._stop_signals, signal.SIGCHLD})
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # a dead fleet's vLLM processes become children of this process
        gc.freeze()  # a collection in a child would copy the pages that it shares with the parent
        while (stop_signal := self._start_due_and_wait()) is None:
            pass
        self._stopping = True
        self._stop()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if stop_signal != signal.SIGINT:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        return 0

    def _start_due_and_wait(self) -> int | None:
        """Start the children that are due, then wait for the next event. Return a stop signal, or None."""
        waits = []
        for child in (self._fleet, *self._workers):
            if child.start_at is not None and child.start_at <= monotonic():
                self._start(child)
            if child.start_at is not None:
                waits.append(child.start_at - monotonic())
        return self._wait_for_signal(min(waits, default=None))

    def _wait_for_signal(self, timeout_s: float | None) -> int | None:
        """Wait for a signal and reap the children that have ended. Return the signal if it is a stop signal."""
        numbers = {*self._stop_signals, signal.SIGCHLD}
        if timeout_s is None:
            number: int = signal.sigwaitinfo(numbers).si_signo
        else:
            info = signal.sigtimedwait(numbers, max(0.0, timeout_s))
            number = info.si_signo if info else signal.SIGCHLD
        self._reap()
        return number if number in self._stop_signals else None

    def _reap(self) -> None:
        running = {child.pid: child for child in (self._fleet, *self._workers) if child.start_at is None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if child := running.get(pid):  # otherwise it is an orphan of a dead fleet
                self._on_exit(child, os.waitstatus_to_exitcode(status))

    def _on_exit(self, child: _ChildProcess, status: int) -> None:
        child.ended_at = monotonic()
        child.start_at = child.ended_at + child.restart_delay_s(child.ended_at)
        child.on_exit()
        if not self._stopping:
            log.error("%s (process %d) %s: restarting it", child.name, child.pid, explain(status))

    def _start(self, child: _ChildProcess) -> None:
        now = monotonic()
        if (
            child is self._fleet
            and child.ended_at
            and now - child.ended_at < ORPHAN_WAIT_S
            and self._has_orphaned_engines()
        ):
            child.start_at = now + ORPHAN_POLL_S
            return
        try:
            pid = os.fork()
        except OSError as error:
            log.error("%s cannot be started: %s", child.name, error.strerror)
            child.start_at = now + MAX_RESTART_DELAY_S
            return
        if pid == 0:
            _run_child(child)
        child.pid, child.started_at, child.start_at = pid, now, None

    def _has_orphaned_engines(self) -> bool:
        ours = {child.pid for child in self._workers}
        return any(process.parent == os.getpid() and process.pid not in ours for process in processes())

    def _run_fleet(self) -> int:
        for listener in self._listeners:
            listener.close()
        _close_files(*self._parent_pipe, self._gateway_pipe[1])
        for number in self._stop_signals:
            signal.signal(
                number, _ignore_signal
            )  # a terminal or systemd signals every process, but the fleet has to end last
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*self._stop_signals, signal.SIGCHLD})
        return self._roles.run_fleet(self._gateway_pipe[0], restarted=self._fleet.ended_at > 0)

    def _run_worker(self, number: int) -> int:
        for other, listener in enumerate(self._listeners):
            if other != number:
                listener.close()
        _close_files(self._parent_pipe[1], self._gateway_pipe[0])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*self._stop_signals, signal.SIGCHLD})
        return self._roles.serve(number, self._listeners[number], self._parent_pipe[0])

    def _stop(self) -> None:
        for listener in self._listeners:
            listener.close()
        forced = self._wait_for_exit(self._workers, signal.SIGTERM, max(1.0, self._grace_s) + WORKER_EXIT_MARGIN_S)
        _close_files(self._parent_pipe[1], self._gateway_pipe[1])
        self._wait_for_exit([self._fleet], signal.SIGKILL if forced else None, FLEET_EXIT_TIMEOUT_S)

    def _wait_for_exit(self, children: Sequence[_ChildProcess], number: signal.Signals | None, within_s: float) -> bool:
        """Send a signal, wait until all have exited, and kill those that take too long. Return whether Ctrl-C came."""
        _signal_running(children, number)
        deadline = monotonic() + within_s
        interrupted = False
        while any(child.start_at is None for child in children):
            if monotonic() >= deadline:
                _signal_running(children, signal.SIGKILL)
                deadline += within_s
            if self._wait_for_signal(deadline - monotonic()) == signal.SIGINT:
                interrupted = True
                workers = [child for child in children if child is not self._fleet]
                _signal_running(workers, signal.SIGINT)  # makes uvicorn stop without waiting for requests
        return interrupted


def _run_child(child: _ChildProcess) -> NoReturn:
    """Run a child's work and end this process. It never returns to the parent's code."""
    status = 1
    try:
        status = child.run()
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        status = 0
    except BaseException:
        log.exception("%s", child.name)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _ignore_signal(*_: object) -> None:
    """Do nothing on a signal. SIG_IGN would not do, because the fleet's own children would inherit it."""


def _signal_running(children: Sequence[_ChildProcess], number: signal.Signals | None) -> None:
    for child in children:
        if child.start_at is None and number is not None:
            os.kill(child.pid, number)


def _close_files(*files: int) -> None:
    for file in files:
        os.close(file)
