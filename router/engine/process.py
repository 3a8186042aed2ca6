"""A process of ours and all that it starts: it ends when we say so, and when we are gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from router.engine import guard

GRACE_S = 5.0  # for an orderly end, before SIGKILL
STUCK_S = 10.0  # a guard that takes so much longer will not end
SWEEP_EVERY_S = 0.1
GUARD = (sys.executable, "-I", guard.__file__, str(GRACE_S))  # -I: nothing but the standard library


class Guarded:
    """A command under two guards (`router.engine.guard`), in a session of its own, away from the terminal's Ctrl-C.

    Make it with `start`; `stop` must follow.
    """

    def __init__(self, process: asyncio.subprocess.Process, lifeline: int) -> None:
        self._process = process
        self._lifeline = lifeline
        self._exit = asyncio.create_task(process.wait())

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
        """Start the command with exactly this environment. The folder `remove_after` goes when it has ended.

        Raises:
            OSError: no process could be made.
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
        return cls(process, our_end)

    @property
    def pid(self) -> int:
        """Return the outer guard's process id, which is the session's too."""
        return self._process.pid

    async def output(self) -> AsyncIterator[bytes]:
        """Yield the lines that the command prints, where it was started with a pipe for them."""
        while self._process.stdout and (line := await self._process.stdout.readline()):
            yield line

    async def exited(self, timeout_s: float | None = None) -> int | None:
        """Wait for the end; return the exit status (128 + N for signal N), or None after `timeout_s` seconds."""
        await asyncio.wait({self._exit}, timeout=timeout_s)
        return self._exit.result() if self._exit.done() else None

    async def stop(self) -> None:
        """End it and everything that it started. Idempotent; when cancelled, the guard goes on with it."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if await self.exited(GRACE_S + STUCK_S) is None:
            self._process.kill()
            await self.exited()
        # Nothing is left, unless the outer guard was itself killed: then the inner one is at work.
        deadline = time.monotonic() + GRACE_S + STUCK_S
        while (left := await asyncio.to_thread(members, self.pid)) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(SWEEP_EVERY_S)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def members(session: int) -> list[int]:
    """Return the processes of a session that still run."""
    return [process.pid for process in guard.processes() if process.session == session and not process.ended]


def explain(status: int) -> str:
    """Return an exit status in words; a negative one is that of a guard that was itself killed."""
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-status if status < 0 else status - 128).name}"
    return f"exited with status {status}"
