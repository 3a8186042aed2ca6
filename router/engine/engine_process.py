"""One run of an engine: started from its command, asked for its health on its socket, and stopped without a trace."""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from router.engine.command import Launch
from router.engine.paths import limit_log_size, read_failure_reason, rotate_log
from router.engine.process import Guarded, explain
from router.engine.progress import stage_of
from router.engine.socket_request import sent, status_of
from router.engine.warm_start import WarmStart
from router.errors import EngineError

HEALTH_TIMEOUT_S = 5.0
SLEEP_TIMEOUT_S = 120.0
"""copying the weights of a large model out of a GPU or into it takes seconds"""
START_LOG_BYTES = 200_000
"""more than what vLLM logs during a start"""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class EngineProcess:
    """An engine that listens on `socket`, in the private `folder`. The caller must call `stop`."""

    launch: Launch
    folder: Path
    socket: Path
    log: Path
    _process: Guarded | None = field(default=None, init=False)
    _log_size_limited: bool = field(default=True, init=False)

    async def start(self, warm_start: WarmStart | None) -> None:
        """Start it, in a fork of a warm parent if one is given.

        Raises:
            EngineError: the warm parent died.
            OSError: a folder, a log or a process could not be made.
        """
        # vLLM does not start if sockets of an earlier process are in its folder
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        with rotate_log(self.log).open("ab") as output:
            if warm_start is None:
                argv, env = self.launch.argv, self.launch.env
                self._process = await Guarded.start(argv, env, stdout=output, stderr=output, remove_after=self.folder)
            else:
                self._process = await warm_start.start(self.launch, output, remove_after=self.folder)

    async def stop(self) -> None:
        """Stop it and all of its processes. Idempotent."""
        if self._process is not None:
            await self._process.stop()

    async def raise_if_ended(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds for the process to end.

        Raises:
            EngineError: the process ended. The message has its status and the reason from its log.
        """
        if self._process is not None and (status := await self._process.exited(timeout_s)) is not None:
            why = await asyncio.to_thread(read_failure_reason, self.log)
            raise EngineError(f"{self.launch.title} {explain(status)}{why and f': {why}'} (more in {self.log})")

    async def stage(self) -> str:
        """Return what it is doing while it starts, in words for the person who waits."""
        return stage_of(await asyncio.to_thread(self._start_of_log), self.launch.stages)

    async def limit_log_size(self) -> None:
        """Empty the log if it is too long. A failure, such as a full disk, is logged once, and stops no engine."""
        try:
            await asyncio.to_thread(limit_log_size, self.log)
        except OSError as error:
            if self._log_size_limited:
                log.warning("%s: could not limit the size of its log: %s", self.log.stem, error)
            self._log_size_limited = False

    async def health(self) -> int | None:
        """Return the status of `GET /health`, or None if there was no answer in time."""
        return await self._request("GET /health", HEALTH_TIMEOUT_S)

    async def sleep(self) -> bool:
        """Let it give its memory back, weights and KV cache, and keep what it has compiled. Return whether it did."""
        return await self._request("POST /sleep?level=1", SLEEP_TIMEOUT_S) == 200

    async def wake_up(self) -> None:
        """Let it take its memory again.

        Raises:
            EngineError: it did not.
        """
        if await self._request("POST /wake_up", SLEEP_TIMEOUT_S) != 200:
            raise EngineError(f"{self.launch.title} did not wake up from sleep (more in {self.log})")

    async def _request(self, what: str, within_s: float) -> int | None:
        """Return the status of a request without a body, or None if there was no answer in time."""
        try:
            async with asyncio.timeout(within_s), sent(self.socket, what) as reader:
                return status_of(await reader.readline())
        except (OSError, ValueError, TimeoutError):  # ValueError: the status line is too long
            return None

    def _start_of_log(self) -> str:
        try:
            with self.log.open("rb") as file:
                return file.read(START_LOG_BYTES).decode(errors="replace")
        except OSError:
            return ""
