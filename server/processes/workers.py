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

FIRST_DELAY_S, LONGEST_DELAY_S = 0.1, 5.0
STABLE_S = 10.0  # what ran for so long died by chance: start it again at once
TAIL_S = 10.0  # what a worker may take after its grace, before it is killed
FLEET_END_S = 60.0  # what the fleet may take to stop its vLLMs; when it is killed, their guards stop them
ORPHANS_S, ORPHANS_EVERY_S = 30.0, 0.2  # how long a dead fleet's vLLMs may take to end, before there are new ones


class Jobs(Protocol):
    """What the children do, and what the parent does when one has died."""

    def serve(self, worker: int, listener: socket, alive: int) -> int:
        """Serve until SIGTERM, or until the pipe `alive` ends; return the exit status."""
        ...

    def watch(self, anybody: int, *, again: bool) -> int:
        """Watch the replicas until the pipe `anybody` ends; return the exit status.

        `again`: another did so before, and died.
        """
        ...

    def release_worker(self, worker: int) -> None:
        """Clear up after a worker that has died."""
        ...

    def mark_down(self) -> None:
        """Clear up after a fleet that has died."""
        ...


@dataclass(slots=True)
class _Child:
    """`due` is when it is to be started; None: it runs. Seconds of the monotonic clock."""

    name: str
    run: Callable[[], int]
    bury: Callable[[], None]
    pid: int = 0
    due: float | None = 0.0
    began: float = 0.0
    ended: float = 0.0
    failures: int = 0

    def delay_s(self, now: float) -> float:
        """Return how long to wait with its next start, now that it has ended."""
        self.failures = 0 if now - self.began >= STABLE_S else self.failures + 1
        if not self.failures:
            return 0.0
        return min(FIRST_DELAY_S * 2.0 ** min(self.failures - 1, 10), LONGEST_DELAY_S)


class Parent:
    """Keeps the fleet and a worker for each listener running, until it is told to stop.

    `grace_s` is how long requests may still take then.
    """

    def __init__(self, jobs: Jobs, listeners: Sequence[socket], grace_s: float) -> None:
        self._jobs = jobs
        self._listeners = listeners
        self._grace_s = grace_s
        self._alive, self._anybody = os.pipe(), os.pipe()
        self._fleet = _Child("the fleet", self._be_fleet, jobs.mark_down)
        self._workers = [
            _Child(f"worker {number + 1}", partial(self._be_worker, number), partial(jobs.release_worker, number))
            for number in range(len(listeners))
        ]
        self._stops = {signal.SIGTERM, signal.SIGINT}
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # where nohup says that a hang-up is nothing
            self._stops.add(signal.SIGHUP)
        self._stopping = False

    def run(self) -> int:
        """Return the exit status when all have ended; a SIGTERM ends this process, too, as it does any other."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*self._stops, signal.SIGCHLD})
        libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # to see when all that a dead fleet has started is gone
        gc.freeze()  # so that no collection in a child copies the pages that all have in common
        while (asked := self._turn()) is None:
            pass
        self._stopping = True
        self._stop()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if asked != signal.SIGINT:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        return 0

    def _turn(self) -> int | None:
        """Start what is due and wait for what comes next; return the signal if it says to stop."""
        waits = []
        for child in (self._fleet, *self._workers):
            if child.due is not None and child.due <= monotonic():
                self._start(child)
            if child.due is not None:
                waits.append(child.due - monotonic())
        return self._wait(min(waits, default=None))

    def _wait(self, timeout_s: float | None) -> int | None:
        """Wait for a signal, reaping who has ended; return it if it says to stop."""
        numbers = {*self._stops, signal.SIGCHLD}
        if timeout_s is None:
            number: int = signal.sigwaitinfo(numbers).si_signo
        else:
            info = signal.sigtimedwait(numbers, max(0.0, timeout_s))
            number = info.si_signo if info else signal.SIGCHLD
        self._reap()
        return number if number in self._stops else None

    def _reap(self) -> None:
        running = {child.pid: child for child in (self._fleet, *self._workers) if child.due is None}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if child := running.get(pid):  # else it is an orphan
                self._on_exit(child, os.waitstatus_to_exitcode(status))

    def _on_exit(self, child: _Child, status: int) -> None:
        child.ended = monotonic()
        child.due = child.ended + child.delay_s(child.ended)
        child.bury()
        if not self._stopping:
            log.error("%s (process %d) %s: it is started again", child.name, child.pid, explain(status))

    def _start(self, child: _Child) -> None:
        now = monotonic()
        if child is self._fleet and child.ended and now - child.ended < ORPHANS_S and self._has_orphans():
            child.due = now + ORPHANS_EVERY_S
            return
        try:
            pid = os.fork()
        except OSError as error:
            log.error("%s cannot be started: %s", child.name, error.strerror)
            child.due = now + LONGEST_DELAY_S
            return
        if pid == 0:
            _be(child)
        child.pid, child.began, child.due = pid, now, None

    def _has_orphans(self) -> bool:
        ours = {child.pid for child in self._workers}
        return any(process.parent == os.getpid() and process.pid not in ours for process in processes())

    def _be_fleet(self) -> int:
        for listener in self._listeners:
            listener.close()
        _close(*self._alive, self._anybody[1])
        for number in self._stops:
            signal.signal(number, _pass)  # a terminal, or systemd, signals all of us: the fleet ends last
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*self._stops, signal.SIGCHLD})
        return self._jobs.watch(self._anybody[0], again=self._fleet.ended > 0)

    def _be_worker(self, number: int) -> int:
        for other, listener in enumerate(self._listeners):
            if other != number:
                listener.close()
        _close(self._alive[1], self._anybody[0])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*self._stops, signal.SIGCHLD})
        return self._jobs.serve(number, self._listeners[number], self._alive[0])

    def _stop(self) -> None:
        for listener in self._listeners:
            listener.close()
        forced = self._end(self._workers, signal.SIGTERM, max(1.0, self._grace_s) + TAIL_S)
        _close(self._alive[1], self._anybody[1])
        self._end([self._fleet], signal.SIGKILL if forced else None, FLEET_END_S)

    def _end(self, children: Sequence[_Child], number: signal.Signals | None, within_s: float) -> bool:
        """Wait until none of them runs, at last by SIGKILL. Return whether somebody pressed Ctrl-C meanwhile."""
        _send(children, number)
        deadline = monotonic() + within_s
        pressed = False
        while any(child.due is None for child in children):
            if monotonic() >= deadline:
                _send(children, signal.SIGKILL)
                deadline += within_s
            if self._wait(deadline - monotonic()) == signal.SIGINT:
                pressed = True
                _send([child for child in children if child is not self._fleet], signal.SIGINT)  # uvicorn's "at once"
        return pressed


def _be(child: _Child) -> NoReturn:
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


def _pass(*_: object) -> None:
    """Handle a signal by nothing. To ignore it is another thing: what the fleet starts would inherit that."""


def _send(children: Sequence[_Child], number: signal.Signals | None) -> None:
    for child in children:
        if child.due is None and number is not None:
            os.kill(child.pid, number)


def _close(*files: int) -> None:
    for file in files:
        os.close(file)
