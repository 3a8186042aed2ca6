"""One gateway in several processes: a parent, which only starts and ends the others, a fleet, and the workers.

    parent ─┬─ fleet      supervises and probes the replicas
            ├─ worker 1   serves
            └─ worker 2

A child that dies is started again. Two pipes tell who is still there, since the kernel closes their ends however a
process dies: of the one that workers read the parent alone has the end, of the one that the fleet reads the parent
and all workers have it. So workers drain when the parent is gone, and the fleet stops when nobody is left to serve.

The parent has no event loop and no threads: a process with threads must not fork.
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
STABLE_AFTER_S = 10.0  # what ran for so long died by chance: start it again at once
WORKER_EXIT_MARGIN_S = 10.0  # what a worker may take after its grace, before it is killed
FLEET_EXIT_TIMEOUT_S = 60.0  # what the fleet may take to stop its vLLMs; when it is killed, their guards stop them
ORPHAN_WAIT_S, ORPHAN_POLL_S = 30.0, 0.2  # how long a dead fleet's vLLMs may take to end, before there are new ones


class ProcessRoles(Protocol):
    """What the children do, and what the parent does when one has died."""

    def serve(self, worker: int, listener: socket, parent_alive: int) -> int:
        """Serve until SIGTERM, or until the pipe `parent_alive` ends; return the exit status."""
        ...

    def run_fleet(self, gateway_alive: int, *, restarted: bool) -> int:
        """Watch the replicas until the pipe `gateway_alive` ends; return the exit status.

        `restarted`: another did so before, and died.
        """
        ...

    def release_worker(self, worker: int) -> None:
        """Clear up after a worker that has died."""
        ...

    def mark_down(self) -> None:
        """Clear up after a fleet that has died."""
        ...


@dataclass(slots=True)
class _ChildProcess:
    """`start_at` is when it is to be started; None: it runs. Seconds of the monotonic clock."""

    name: str
    run: Callable[[], int]
    on_exit: Callable[[], None]
    pid: int = 0
    start_at: float | None = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    failures: int = 0

    def restart_delay_s(self, now: float) -> float:
        """Return how long to wait with its next start, now that it has ended."""
        self.failures = 0 if now - self.started_at >= STABLE_AFTER_S else self.failures + 1
        if not self.failures:
            return 0.0
        return min(FIRST_RESTART_DELAY_S * 2.0 ** min(self.failures - 1, 10), MAX_RESTART_DELAY_S)


class ParentProcess:
    """Keeps the fleet and a worker for each listener running, until it is told to stop.

    `grace_s` is how long requests may still take then.
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
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # where nohup says that a hang-up is nothing
            self._stop_signals.add(signal.SIGHUP)
        self._stopping = False

    def run(self) -> int:
        """Return the exit status when all have ended; a SIGTERM ends this process, too, as it does any other."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._stop_signals, signal.SIGCHLD})
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # to see when all that a dead fleet has started is gone
        gc.freeze()  # so that no collection in a child copies the pages that all have in common
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
        """Start what is due and wait for what comes next; return the signal if it says to stop."""
        waits = []
        for child in (self._fleet, *self._workers):
            if child.start_at is not None and child.start_at <= monotonic():
                self._start(child)
            if child.start_at is not None:
                waits.append(child.start_at - monotonic())
        return self._wait_for_signal(min(waits, default=None))

    def _wait_for_signal(self, timeout_s: float | None) -> int | None:
        """Wait for a signal, reaping who has ended; return it if it says to stop."""
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
            if child := running.get(pid):  # else it is an orphan
                self._on_exit(child, os.waitstatus_to_exitcode(status))

    def _on_exit(self, child: _ChildProcess, status: int) -> None:
        child.ended_at = monotonic()
        child.start_at = child.ended_at + child.restart_delay_s(child.ended_at)
        child.on_exit()
        if not self._stopping:
            log.error("%s (process %d) %s: it is started again", child.name, child.pid, explain(status))

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
            signal.signal(number, _ignore_signal)  # a terminal, or systemd, signals all of us: the fleet ends last
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
        """Wait until none of them runs, at last by SIGKILL. Return whether somebody pressed Ctrl-C meanwhile."""
        _signal_running(children, number)
        deadline = monotonic() + within_s
        interrupted = False
        while any(child.start_at is None for child in children):
            if monotonic() >= deadline:
                _signal_running(children, signal.SIGKILL)
                deadline += within_s
            if self._wait_for_signal(deadline - monotonic()) == signal.SIGINT:
                interrupted = True
                _signal_running(
                    [child for child in children if child is not self._fleet], signal.SIGINT
                )  # uvicorn's "at once"
        return interrupted


def _run_child(child: _ChildProcess) -> NoReturn:
    """Do a child's work and end this process: it never returns to what the parent was doing."""
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
    """Handle a signal by nothing. To ignore it is another thing: what the fleet starts would inherit that."""


def _signal_running(children: Sequence[_ChildProcess], number: signal.Signals | None) -> None:
    for child in children:
        if child.start_at is None and number is not None:
            os.kill(child.pid, number)


def _close_files(*files: int) -> None:
    for file in files:
        os.close(file)
