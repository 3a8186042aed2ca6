"""Prepares, starts and monitors one managed engine, and restarts it when it dies or hangs."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from router.config.models import Model
from router.engine.command import Host
from router.engine.engine_process import EngineProcess
from router.engine.gpu import visible_gpus
from router.engine.launchers import LAUNCHERS
from router.engine.paths import log_file, runtime_folder
from router.engine.source import prepare
from router.engine.warm_start import WarmStart
from router.errors import EngineError, SmallfirstError
from router.replicas.uptime import Uptime

Phase = Literal["preparing", "starting", "ready", "unresponsive", "restarting", "stopped"]

START_TIMEOUT_S = 900.0  # a start that takes longer has failed
HANG_TIMEOUT_S = 60.0  # a process that does not answer /health for this long is stuck
STARTING_POLL_S = 0.5
READY_POLL_S = 2.0
MISSES_UNTIL_UNRESPONSIVE = 2  # consecutive unanswered health checks before requests are withheld
PROGRESS_INTERVAL_S = 10.0
STABLE_S = 300.0  # a failure after being ready for this long resets the backoff
BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0

log = logging.getLogger(__name__)


class EngineAdapters(Protocol):
    """The adapters of one replica, which its engine loads after each start. `router.adapters` has them."""

    async def prepare(self, progress: Callable[[str], None]) -> Mapping[str, Any]:
        """Prepare the adapters and return the model's `vllm_args` with those that they need."""
        ...

    async def load(self, socket: Path) -> None:
        """Load the adapters into a healthy engine.

        Raises:
            EngineError: the engine did not answer.
        """
        ...

    def engine_ended(self) -> None:
        """Forget what the engine had loaded."""
        ...


class Supervisor:
    """Keeps one replica of a managed model running as long as `run` runs.

    `progress` is called with a line for the user at each step of a start, and every few seconds during long ones.
    Without `warm_start`, or after a warm start that failed, the engine is started by itself. A replica with
    `adapters` is not ready before its engine has loaded them.
    """

    def __init__(
        self,
        model: Model,
        index: int,
        state_dir: Path,
        progress: Callable[[str], None],
        warm_start: WarmStart | None = None,
        adapters: EngineAdapters | None = None,
    ) -> None:
        self.phase: Phase = "preparing"
        self.detail = ""
        self.restarts = 0
        self.uptime = Uptime()
        self._model = model
        self._index = index
        self._state_dir = state_dir
        self._progress = progress
        self._warm_start = warm_start
        self._adapters = adapters
        self._start_cold = False
        self._name = model.name if model.replicas == 1 else f"{model.name}/{index}"
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
        model = self._model
        if self._adapters is not None:
            model = model.model_copy(update={"vllm_args": await self._adapters.prepare(self._progress)})
        launch = LAUNCHERS[model.engine].launch(
            model,
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
            self._set_phase("starting", f"{launch.title} starting")
        self._log_size_limited = True
        engine = EngineProcess(
            launch, self._folder, self._socket, log_file(self._state_dir, self._model.name, str(self._index))
        )
        try:
            await self._start(engine)
            await self._monitor(engine)
        except Exception:
            self._set_phase("restarting", "restarting")  # before the stop below, which may take seconds
            raise
        finally:
            if self._adapters is not None:
                self._adapters.engine_ended()
            await engine.stop()

    async def _start(self, engine: EngineProcess) -> None:
        """Start the engine and wait until it is healthy. After a warm start that failed, the next one is cold."""
        warm = self._warm_start if engine.launch.preload and not self._start_cold else None
        self._start_cold = warm is not None
        began = time.monotonic()
        reporter = asyncio.create_task(self._report_start(engine, began))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await engine.start(warm)
                while await engine.health() != 200:
                    await engine.raise_if_ended(STARTING_POLL_S)
                if self._adapters is not None:
                    await self._adapters.load(self._socket)
        except TimeoutError:
            title = engine.launch.title
            raise EngineError(f"{title} was not ready after {START_TIMEOUT_S:.0f} s (more in {engine.log})") from None
        finally:
            reporter.cancel()
        self._start_cold = False
        self._ready_since = time.monotonic()
        self._set_phase("ready", "")
        self._progress(f"{self._name}: ready after {self._ready_since - began:.0f} s")

    async def _report_start(self, engine: EngineProcess, began: float) -> None:
        """Say what the engine is doing when that changes, and again every few seconds while it does not."""
        told, told_at = "", began
        while True:
            stage, now = await engine.stage(), time.monotonic()
            if stage != told or now - told_at >= PROGRESS_INTERVAL_S:
                self.detail = f"{engine.launch.title} starting: {stage}"
                self._progress(f"{self._name}: {stage}{f', {now - began:.0f} s so far' if stage == told else ''}")
                told, told_at = stage, now
            await asyncio.sleep(STARTING_POLL_S)

    async def _monitor(self, engine: EngineProcess) -> None:
        title = engine.launch.title
        answered = time.monotonic()
        misses = 0
        while time.monotonic() - answered < HANG_TIMEOUT_S:
            await engine.raise_if_ended(READY_POLL_S)
            await self._limit_log_size(engine)
            status = await engine.health()
            if status == 200:
                answered = time.monotonic()
                misses = 0
                self._set_phase("ready", "")
                continue
            misses += 1
            if status is not None or misses >= MISSES_UNTIL_UNRESPONSIVE:
                self._set_phase("unresponsive", f"{title} does not answer its health check")
        raise EngineError(f"{title} did not answer its health check for {HANG_TIMEOUT_S:.0f} s (more in {engine.log})")

    async def _limit_log_size(self, engine: EngineProcess) -> None:
        """Limit the size of the log. A failure, such as a full disk, is logged once and stops no healthy engine."""
        try:
            await engine.limit_log_size()
        except OSError as error:
            if self._log_size_limited:
                log.warning("%s: could not limit the size of its log: %s", self._name, error)
            self._log_size_limited = False

    def _ready_for_s(self) -> float:
        return 0.0 if self._ready_since is None else time.monotonic() - self._ready_since

    def _set_phase(self, phase: Phase, detail: str) -> None:
        self.phase, self.detail = phase, detail
        self.uptime.note(time.monotonic(), up=self.up)


def backoff_s(failures: int) -> float:
    """Return the delay in seconds before the next start, after this many consecutive failures: 1, 2, 4, .. 60."""
    return float(min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(failures - 1, 10)))
