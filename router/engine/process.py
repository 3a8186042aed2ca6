"""Runs a command whose whole process tree ends when the gateway stops it or ends itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from pathlib import Path
from typing import IO

from router.engine import guard

GRACE_S = 5.0  # after SIGTERM, before SIGKILL
GUARD_TIMEOUT_S = 10.0  # a guard that needs this much longer than the grace is stuck
POLL_INTERVAL_S = 0.1
GUARD = (sys.executable, "-I", guard.__file__, str(GRACE_S))  # -I: only the standard library


class Guarded:
    """A command under two guards (`router.engine.guard`), in its own session, which the terminal's Ctrl-C cannot reach.

    Create it with `start` or with `WarmStart.start`. The caller must call `stop`.
    """

    def __init__(
        self, pid: int, lifeline: int, exit_status: Awaitable[int], stdout: asyncio.StreamReader | None = None
    ) -> None:
        """Wrap running guards. They stop everything when `lifeline` is closed, which this object owns."""
        self.pid = pid
        """the outer guard's process id, which is also the session id"""
        self._lifeline = lifeline
        self._exit_task = asyncio.ensure_future(exit_status)
        self._stdout = stdout

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        stdout: int | IO[bytes],
        stderr: int | IO[bytes],
        remove_after: Path | None = None,
    ) -> Guarded:
        """Start the command with exactly this environment. The folder `remove_after` is removed after it ended.

        Raises:
            OSError: the process could not be started.
        """
        guards = (*GUARD, str(remove_after or ""), *GUARD, "")
        guards_end, our_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *guards,
                *command,
                env=env,
                stdin=guards_end,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        except BaseException:
            os.close(our_end)
            raise
        finally:
            os.close(guards_end)
        return cls(process.pid, our_end, process.wait(), process.stdout)

    async def output(self) -> AsyncIterator[bytes]:
        """Yield the lines that the command prints, if it was started with a pipe for stdout."""
        while self._stdout and (line := await self._stdout.readline()):
            yield line

    async def exited(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end. Return the exit status (128 + N for signal N), or None after `timeout_s` seconds."""
        await asyncio.wait({self._exit_task}, timeout=timeout_s)
        return self._exit_task.result() if self._exit_task.done() else None

    async def stop(self) -> None:
        """Stop the command and its descendants. Idempotent. If this call is cancelled, the guard completes the stop."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if await self.exited(GRACE_S + GUARD_TIMEOUT_S) is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            await self.exited()
        # No process remains, unless the outer guard was killed: then the inner guard is stopping them.
        deadline = time.monotonic() + GRACE_S + GUARD_TIMEOUT_S
        while (remaining := await asyncio.to_thread(session_processes, self.pid)) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_INTERVAL_S)
        for pid in remaining:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def session_processes(session: int) -> list[int]:
    """Return the running processes of a session."""
    return [process.pid for process in guard.processes() if process.session == session and not process.ended]


def explain(status: int) -> str:
    """Describe an exit status in words. A negative status means that the guard itself was killed."""
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-status if status < 0 else status - 128).name}"
    return f"exited with status {status}"
