"""A process of ours and all that it starts: it ends when we say so, and when we are gone."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from router.engine import guard

STOP_S = guard.GRACE_S + 5  # a guard that takes longer is stuck


class Guarded:
    """A command under a guard (`router.engine.guard`), in a session of its own, away from the terminal's Ctrl-C.

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
    ) -> Guarded:
        """Start the command with exactly this environment.

        Raises:
            OSError: no process could be made.
        """
        guards_end, our_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",  # the guard imports nothing but the standard library
                guard.__file__,
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
        if await self.exited(STOP_S) is None:
            self._process.kill()
            await self.exited()
        sweep(self._process.pid)


def sweep(session: int) -> None:
    """Kill what a session still holds: nothing, unless its guard was itself killed."""
    for pid, _, its_session in guard.processes():
        if its_session == session:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def explain(status: int) -> str:
    """Return an exit status in words."""
    if status <= 128:
        return f"exited with status {status}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(status - 128).name}"
    return f"exited with status {status}"


def log_file(folder: Path, name: str, part: str) -> Path:
    """Return the log's path; a model's name may hold characters that a file's may not."""
    safe = "".join(char if char.isalnum() or char in "._-" else "_" for char in name)
    return folder / "logs" / f"{safe}-{part}.log"
