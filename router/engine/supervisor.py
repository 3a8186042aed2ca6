"""Prepares, starts and monitors one managed engine, and restarts it when it dies or hangs."""

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
from router.engine.command import Host
from router.engine.gpu import visible_gpus
from router.engine.launchers import LAUNCHERS
from router.engine.paths import limit_log_size, log_file, read_failure_reason, rotate_log, runtime_folder
from router.engine.process import Guarded, explain
from router.engine.source import prepare
from router.errors import EngineError, SmallfirstError
from router.replicas.uptime import Uptime

Phase = Literal["preparing", "starting", "ready", "unresponsive", "restarting", "stopped"]

START_TIMEOUT_S = 900.0  # a start that takes longer has failed
HANG_TIMEOUT_S = 60.0  # a process that does not answer /health for this long is stuck
STARTING_POLL_S = 0.5
READY_POLL_S = 2.0
HEALTH_TIMEOUT_S = 5.0
MISSES_UNTIL_UNRESPONSIVE = 2  # consecutive unanswered health checks before requests are withheld
PROGRESS_INTERVAL_S = 5.0
STABLE_S = 300.0  # a failure after being ready for this long resets the backoff
BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0

log = logging.getLogger(__name__)


class Supervisor:
    """Keeps one replica of a managed model running as long as `run` runs.

    `progress` is called with a line for the user every few seconds during long steps.
    """

    def __init__(self, model: Model, index: int, state_dir: Path, progress: Callable[[str], None]) -> None:
        self.phase: Phase = "preparing"
        self.detail = ""
        self.restarts = 0
        self.uptime = Uptime()
        self._model = model
        self._engine = LAUNCHERS[model.engine]
        self._index = index
        self._state_dir = state_dir
        self._progress = progress
        self._name = model.name if model.replicas == 1 else f"{model.name}/{index}"
        self._log = Path()
        self._log_size_limited = True
        self._folder = runtime_folder()
        self._socket = self._folder / "engine.sock"
        self._ready_since: float | None = None

    @property
    def address(self) -> str:
        """Return `unix:PATH`, the address of the replica once it is ready."""
        return f"unix:{self._socket}"

    @property
    def up(self) -> bool:
        """Return whether the replica can take requests."""
        return self.phase == "ready"

    async def run(self) -> None:
        """Keep the replica running until cancelled, then stop all of its processes.

        Raises:
            asyncio.CancelledError: the caller cancelled it.
        """
        failures = 0
        try:
            while True:
                self._ready_since = None
                try:
                    await self._run_once()
                except (SmallfirstError, OSError) as error:
                    reason = str(error)
                except Exception as error:
                    log.exception("%s: unexpected error", self._name)
                    reason = f"{type(error).__name__}: {error}"
                failures = 1 if self._ready_for_s() >= STABLE_S else failures + 1
                delay = backoff_s(failures)
                self.restarts += 1
                # clients see the detail, so the reason goes only to the operator's log
                self._set_phase("restarting", f"restarting; next start in {delay:.0f} s")
                log.warning("%s: %s; next start in %.0f s", self._name, reason, delay)
                await asyncio.sleep(delay)
        finally:
            self._set_phase("stopped", "")
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _run_once(self) -> None:
        """Start the replica once and monitor it. This always ends with an error.

        Raises:
            EngineError: the replica could not start or stopped running. The message says why.
            ConfigError: an argument of the engine is invalid.
        """
        if not self.restarts:
            self._set_phase("preparing", "preparing the model")
        path = await prepare(self._model, self._state_dir, self._progress)
        launch = self._engine.launch(
            self._model,
            self._index,
            path,
            self._socket,
            Host(
                os.environ,
                gpus=await asyncio.to_thread(visible_gpus, os.environ),
                cores=len(os.sched_getaffinity(0)),
            ),
        )
        if not self.restarts:
            self._set_phase("starting", f"{self._engine.title} starting")
        self._log = log_file(self._state_dir, self._model.name, str(self._index))
        self._log_size_limited = True
        self._recreate_folder()
        with rotate_log(self._log).open("ab") as output:
            process = await Guarded.start(
                launch.argv, launch.env, stdout=output, stderr=output, remove_after=self._folder
            )
        try:
            await self._wait_until_ready(process)
            await self._monitor(process)
        except Exception:
            self._set_phase("restarting", "restarting")  # before the stop below, which may take seconds
            raise
        finally:
            await process.stop()

    def _recreate_folder(self) -> None:
        """Recreate the private folder, as an engine does not start if sockets of an earlier process are in it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700)

    async def _wait_until_ready(self, process: Guarded) -> None:
        began = reported = time.monotonic()
        while await health(self._socket) != 200:
            await self._raise_if_ended(process, STARTING_POLL_S)
            now = time.monotonic()
            if now - began > START_TIMEOUT_S:
                raise EngineError(
                    f"{self._engine.title} was not ready after {START_TIMEOUT_S:.0f} s (more in {self._log})"
                )
            if now - reported >= PROGRESS_INTERVAL_S:
                reported = now
                self.detail = f"{self._engine.title} starting, {now - began:.0f} s ({self._engine.usual_start})"
                self._progress(f"{self._name}: {self.detail}")
        self._ready_since = time.monotonic()
        self._set_phase("ready", "")
        self._progress(f"{self._name}: ready after {self._ready_since - began:.0f} s")

    async def _monitor(self, process: Guarded) -> None:
        answered = time.monotonic()
        misses = 0
        while time.monotonic() - answered < HANG_TIMEOUT_S:
            await self._raise_if_ended(process, READY_POLL_S)
            await self._limit_log_size()
            status = await health(self._socket)
            if status == 200:
                answered = time.monotonic()
                misses = 0
                self._set_phase("ready", "")
                continue
            misses += 1
            if status is not None or misses >= MISSES_UNTIL_UNRESPONSIVE:
                self._set_phase("unresponsive", f"{self._engine.title} does not answer its health check")
        raise EngineError(
            f"{self._engine.title} did not answer its health check for {HANG_TIMEOUT_S:.0f} s (more in {self._log})"
        )

    async def _limit_log_size(self) -> None:
        """Limit the size of the log. A failure, such as a full disk, is logged once and stops no healthy engine."""
        try:
            await asyncio.to_thread(limit_log_size, self._log)
        except OSError as error:
            if self._log_size_limited:
                log.warning("%s: could not limit the size of its log: %s", self._name, error)
            self._log_size_limited = False

    async def _raise_if_ended(self, process: Guarded, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds for the process to end.

        Raises:
            EngineError: the process ended. The message has its status and the reason from its log.
        """
        status = await process.exited(timeout_s)
        if status is not None:
            why = await asyncio.to_thread(read_failure_reason, self._log)
            raise EngineError(f"{self._engine.title} {explain(status)}{why and f': {why}'} (more in {self._log})")

    def _ready_for_s(self) -> float:
        return 0.0 if self._ready_since is None else time.monotonic() - self._ready_since

    def _set_phase(self, phase: Phase, detail: str) -> None:
        self.phase, self.detail = phase, detail
        self.uptime.note(time.monotonic(), up=self.up)


def backoff_s(failures: int) -> float:
    """Return the delay in seconds before the next start, after this many consecutive failures: 1, 2, 4, .. 60."""
    return float(min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(failures - 1, 10)))


async def health(socket: Path) -> int | None:
    """Return the status of `GET /health` on the socket, or None if there was no answer in time."""
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
                answer = re.match(rb"HTTP/1\.[01] (\d{3})\b", await reader.readline())
            finally:
                writer.close()
    except (OSError, ValueError, TimeoutError):  # ValueError: the status line is too long
        return None
    return int(answer[1]) if answer else None
