"""Starts engines in forks of a process that has already imported their code (`router.engine.warm_parent`)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from router.engine.command import Launch
from router.engine.paths import log_file, read_failure_reason, rotate_log
from router.engine.process import GRACE_S, Guarded
from router.errors import EngineError

MAX_REPLY_BYTES = 4096


class WarmStart:
    """One warm parent for each set of modules that engines import. It is started when the first engine needs it."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._parents: dict[tuple[str, ...], _WarmParent] = {}

    async def start(self, launch: Launch, log: IO[bytes], *, remove_after: Path) -> Guarded:
        """Start the command in a fork. It is like `Guarded.start`, with stdout and stderr in `log`.

        Raises:
            EngineError: the warm parent could not import the modules, or died. Starting without it may succeed.
        """
        parent = self._parents.get(launch.preload)
        if parent is None or parent.ended:
            number = len(self._parents) if parent is None else list(self._parents).index(launch.preload)
            parent = _WarmParent(log_file(self._state_dir, "engines", f"warm-{number}"))
            self._parents[launch.preload] = parent
            await parent.start(launch.preload, launch.env)
        return await parent.fork(launch, log, remove_after)

    async def stop(self) -> None:
        """End the warm parents. The engines that they started have guards of their own, and stay."""
        for parent in self._parents.values():
            await parent.stop()
        self._parents.clear()


class _WarmParent:
    """The gateway's end of one warm parent."""

    def __init__(self, log: Path) -> None:
        self.ended = False
        self._log = log
        self._channel, self._their_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self._process: asyncio.subprocess.Process | None = None
        self._loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pids: dict[int, asyncio.Future[int]] = {}
        self._requests = 0

    async def start(self, modules: tuple[str, ...], env: Mapping[str, str]) -> None:
        """Start the process. It loads the modules meanwhile.

        Raises:
            OSError: the process could not be started.
        """
        asyncio.get_running_loop().add_reader(self._channel, self._on_reply)
        with self._their_end as channel, rotate_log(self._log).open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "router.engine.warm_parent", *modules),
                env=env,
                stdin=channel.fileno(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def fork(self, launch: Launch, log: IO[bytes], remove_after: Path) -> Guarded:
        """Wait until the modules are loaded, then fork.

        Raises:
            EngineError: the process ended. The message says why.
        """
        await asyncio.shield(self._loaded)
        self._requests += 1
        number = self._requests
        pid = self._pids[number] = asyncio.get_running_loop().create_future()
        guards_end, lifeline = os.pipe()
        status_reader, status_writer = os.pipe()
        request = {
            "request": number,
            "command": launch.argv[2:],  # without `python -m`
            "env": dict(launch.env),
            "fork_children": launch.fork_children,
            "grace_s": GRACE_S,
            "remove_after": str(remove_after),
        }
        try:
            files = [guards_end, status_writer, log.fileno()]
            socket.send_fds(self._channel, [json.dumps(request).encode()], files)
            return Guarded(await pid, lifeline, _read_status(status_reader))
        except BaseException as error:
            os.close(lifeline)  # what was forked meanwhile ends
            os.close(status_reader)
            if isinstance(error, OSError):
                raise EngineError(f"the warm parent cannot be reached: {error.strerror}") from None
            raise
        finally:
            os.close(guards_end)
            os.close(status_writer)
            del self._pids[number]

    async def stop(self) -> None:
        """End the process."""
        self._end("it was stopped")
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def _on_reply(self) -> None:
        try:
            message = self._channel.recv(MAX_REPLY_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._end(read_failure_reason(self._log) or "it was killed")
            return
        reply: Mapping[str, Any] = json.loads(message)
        if reply.get("loaded"):
            self._loaded.set_result(None)
        elif (waiting := self._pids.get(reply["request"])) and not waiting.done():  # done: the start was cancelled
            waiting.set_result(reply["pid"])

    def _end(self, reason: str) -> None:
        if self.ended:
            return
        self.ended = True
        asyncio.get_running_loop().remove_reader(self._channel)
        self._channel.close()
        error = EngineError(f"the warm parent ended: {reason} (more in {self._log})")
        futures: list[asyncio.Future[Any]] = [self._loaded, *self._pids.values()]
        for waiting in futures:
            if not waiting.done():
                waiting.set_exception(error)
                waiting.exception()  # nobody may be waiting


async def _read_status(pipe: int) -> int:
    """Return the exit status that the outer guard writes at its end, or -9 if it was killed."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(pipe, readable.set)
    try:
        await readable.wait()
        return int(os.read(pipe, 16) or -signal.SIGKILL)
    finally:
        with contextlib.suppress(OSError):
            loop.remove_reader(pipe)
            os.close(pipe)
