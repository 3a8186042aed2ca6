"""One managed vLLM: prepared, started, watched, and started again when it dies or hangs."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from router.config.models import Model
from router.engine.command import vllm_launch
from router.engine.gpu import visible_gpus
from router.engine.paths import bound_log, log_file, new_log, read_last_words, runtime_folder
from router.engine.process import Guarded, explain
from router.engine.source import prepare
from router.errors import EngineError, SmallfirstError
from router.replicas.uptime import Uptime

Phase = Literal["preparing", "starting", "ready", "unresponsive", "restarting", "stopped"]

START_LIMIT_S = 900.0  # a start that takes longer never ends
HANG_LIMIT_S = 60.0  # a process that does not answer /health for so long is stuck
POLL_STARTING_S = 0.5
POLL_READY_S = 2.0
HEALTH_TIMEOUT_S = 5.0
MISSES = 2  # health checks in a row without an answer, after which no request is sent
PROGRESS_EVERY_S = 5.0
STABLE_S = 300.0  # a replica that was ready for so long failed by chance: start again at once
BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0

log = logging.getLogger(__name__)


class Supervisor:
    """Keeps one replica of a managed model alive while `run` runs.

    `progress` gets a line for the user every few seconds while something takes long.
    """

    def __init__(self, model: Model, index: int, state_dir: Path, progress: Callable[[str], None]) -> None:
        self.phase: Phase = "preparing"
        self.detail = ""
        self.restarts = 0
        self.uptime = Uptime()
        self._model = model
        self._index = index
        self._state_dir = state_dir
        self._progress = progress
        self._name = model.name if model.replicas == 1 else f"{model.name}/{index}"
        self._log = Path()
        self._log_bounded = True
        self._folder = runtime_folder()
        self._socket = self._folder / "vllm.sock"
        self._ready_since: float | None = None

    @property
    def address(self) -> str:
        """Return `unix:PATH`, where the replica serves once it is ready."""
        return f"unix:{self._socket}"

    @property
    def up(self) -> bool:
        """Return whether requests may be sent to it."""
        return self.phase == "ready"

    async def run(self) -> None:
        """Keep the replica alive until cancelled; then no process of it is left.

        Raises:
            asyncio.CancelledError: it was cancelled.
        """
        failures = 0
        try:
            while True:
                self._ready_since = None
                try:
                    await self._live()
                except (SmallfirstError, OSError) as error:
                    reason = str(error)
                except Exception as error:
                    log.exception("%s: unexpected", self._name)
                    reason = f"{type(error).__name__}: {error}"
                failures = 1 if self._ready_for_s() >= STABLE_S else failures + 1
                delay = backoff_s(failures)
                self.restarts += 1
                # clients see the detail: why it ended is the operator's to know
                self._enter("restarting", f"restarting; next start in {delay:.0f} s")
                log.warning("%s: %s; next start in %.0f s", self._name, reason, delay)
                await asyncio.sleep(delay)
        finally:
            self._enter("stopped", "")
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _live(self) -> None:
        """Start the replica once and watch it; always ends with an error.

        Raises:
            EngineError: why it is not running any more, or could not start.
            ConfigError: `vllm_args` is wrong.
        """
        if not self.restarts:
            self._enter("preparing", "preparing the model")
        path = await prepare(self._model, self._state_dir, self._progress)
        launch = vllm_launch(
            self._model,
            self._index,
            path,
            self._socket,
            os.environ,
            gpus=await asyncio.to_thread(visible_gpus, os.environ),
            cores=len(os.sched_getaffinity(0)),
        )
        if not self.restarts:
            self._enter("starting", "vLLM starting")
        self._log = log_file(self._state_dir, self._model.name, str(self._index))
        self._log_bounded = True
        self._empty_folder()
        with new_log(self._log).open("ab") as output:
            process = await Guarded.start(
                launch.argv, launch.env, stdout=output, stderr=output, remove_after=self._folder
            )
        try:
            await self._until_ready(process)
            await self._watch(process)
        except Exception:
            self._enter("restarting", "restarting")  # before the seconds that it takes to stop what is left of it
            raise
        finally:
            await process.stop()

    def _empty_folder(self) -> None:
        """Make the private folder anew: vLLM does not start where a dead one has left its sockets."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700)

    async def _until_ready(self, process: Guarded) -> None:
        began = reported = time.monotonic()
        while await health(self._socket) != 200:
            await self._raise_if_ended(process, POLL_STARTING_S)
            now = time.monotonic()
            if now - began > START_LIMIT_S:
                raise EngineError(f"vLLM was not ready after {START_LIMIT_S:.0f} s (more in {self._log})")
            if now - reported >= PROGRESS_EVERY_S:
                reported = now
                self.detail = f"vLLM starting, {now - began:.0f} s (usually 1 to 2 minutes)"
                self._progress(f"{self._name}: {self.detail}")
        self._ready_since = time.monotonic()
        self._enter("ready", "")
        self._progress(f"{self._name}: ready after {self._ready_since - began:.0f} s")

    async def _watch(self, process: Guarded) -> None:
        answered = time.monotonic()
        misses = 0
        while time.monotonic() - answered < HANG_LIMIT_S:
            await self._raise_if_ended(process, POLL_READY_S)
            await self._bound_log()
            status = await health(self._socket)
            if status == 200:
                answered = time.monotonic()
                misses = 0
                self._enter("ready", "")
                continue
            misses += 1
            if status is not None or misses >= MISSES:
                self._enter("unresponsive", "vLLM does not answer its health check")
        raise EngineError(f"vLLM did not answer its health check for {HANG_LIMIT_S:.0f} s (more in {self._log})")

    async def _bound_log(self) -> None:
        """Keep the log short. Where that fails, say so once: a full disk is no reason to end a healthy vLLM."""
        try:
            await asyncio.to_thread(bound_log, self._log)
        except OSError as error:
            if self._log_bounded:
                log.warning("%s: its log cannot be kept short: %s", self._name, error)
            self._log_bounded = False

    async def _raise_if_ended(self, process: Guarded, timeout_s: float) -> None:
        """Wait a while for the process to end.

        Raises:
            EngineError: it did; with its status and last words.
        """
        status = await process.exited(timeout_s)
        if status is not None:
            words = await asyncio.to_thread(read_last_words, self._log)
            raise EngineError(f"vLLM {explain(status)}{words and f': {words}'} (more in {self._log})")

    def _ready_for_s(self) -> float:
        return 0.0 if self._ready_since is None else time.monotonic() - self._ready_since

    def _enter(self, phase: Phase, detail: str) -> None:
        self.phase, self.detail = phase, detail
        self.uptime.note(time.monotonic(), up=self.up)


def backoff_s(failures: int) -> float:
    """Return the seconds to wait before the next start after so many failures in a row: 1, 2, 4, .. 60."""
    return float(min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(failures - 1, 10)))


async def health(socket: Path) -> int | None:
    """Return the status with which the server on the socket answers `GET /health`; None: no answer in time."""
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: vllm\r\nConnection: close\r\n\r\n")
                answer = re.match(rb"HTTP/1\.[01] (\d{3})\b", await reader.readline())
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError):  # ValueError: a line without end
        return None
    return int(answer[1]) if answer else None
