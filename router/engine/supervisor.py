"""Prepares, starts and monitors one managed engine, restarts it when it fails, and stops it when it is not wanted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from router.config.models import Model
from router.engine.backoff import backoff_s
from router.engine.command import Host
from router.engine.engine_adapters import EngineAdapters
from router.engine.engine_process import EngineProcess
from router.engine.gpu import visible_gpus
from router.engine.gpu_turns import GpuTurns
from router.engine.launchers import LAUNCHERS
from router.engine.paths import log_file, runtime_folder
from router.engine.source import prepare
from router.engine.wanted import Wanted
from router.engine.warm_start import WarmStart
from router.errors import EngineError, SmallfirstError
from router.replicas.uptime import Uptime

Phase = Literal[
    "preparing", "starting", "ready", "unresponsive", "restarting", "unloading", "asleep", "unloaded", "stopped"
]

START_TIMEOUT_S = 900.0  # a start that takes longer has failed
HANG_TIMEOUT_S = 60.0  # a process that does not answer /health for this long is stuck
STARTING_POLL_S = 0.5
READY_POLL_S = 2.0
MISSES_UNTIL_UNRESPONSIVE = 2  # consecutive unanswered health checks before requests are withheld
PROGRESS_INTERVAL_S = 10.0
STABLE_S = 300.0  # a failure after being ready for this long resets the backoff

log = logging.getLogger(__name__)


class Supervisor:
    """Keeps one replica of a managed model running as long as `run` runs, except while it is unloaded.

    `progress` is called with a line for the user at each step of a start, and every few seconds during long ones.
    Without `warm_start`, or after a warm start that failed, the engine is started by itself. A replica with
    `adapters` is not ready before its engine has loaded them. Supervisors that share `gpu_turns` start their engines
    one after another on each GPU.
    """

    def __init__(
        self,
        model: Model,
        index: int,
        state_dir: Path,
        progress: Callable[[str], None],
        warm_start: WarmStart | None = None,
        adapters: EngineAdapters | None = None,
        gpu_turns: GpuTurns | None = None,
    ) -> None:
        self.phase: Phase = "preparing"
        self._detail = ""
        self.restarts = 0
        self.uptime = Uptime()
        self.paid = Uptime()
        """the time for which its process has memory, loading included"""
        self.holds_memory = False
        self.has_failed = False  # and waits to be restarted
        self.is_preparing = True  # its weights, which come before its start
        self._model, self._index = model, index
        self._state_dir, self._progress = state_dir, progress
        self._warm_start, self._adapters = warm_start, adapters
        self._gpu_turns = gpu_turns or GpuTurns()
        self._start_cold = False
        self._name = model.name if model.replicas == 1 else f"{model.name}/{index}"
        self._folder = runtime_folder()
        self._socket = self._folder / "engine.sock"
        self._ready_since: float | None = None
        self._is_late = False
        self._path = ""
        self._wanted = Wanted()
        self._why_not_up = ""  # why it is drained or unloaded on purpose

    @property
    def address(self) -> str:
        """Return `unix:PATH`, the address of the replica once it is ready."""
        return f"unix:{self._socket}"

    @property
    def up(self) -> bool:
        """Return whether it can take requests."""
        return self.phase == "ready" and not self._why_not_up

    @property
    def may_answer(self) -> bool:
        """Return whether it can take requests, or runs and is only late with its health checks."""
        return self.up or (self.phase == "unresponsive" and self._is_late and not self._why_not_up)

    @property
    def is_loaded(self) -> bool:
        """Return whether it has been started."""
        return self.phase in ("ready", "unresponsive")

    @property
    def detail(self) -> str:
        """Return why no request may be sent, in one line. Empty when it is up."""
        return self._why_not_up or self._detail

    def load(self) -> None:
        """Start the replica, or let a drained one take requests again. Replicas are loaded at first."""
        self._why_not_up = ""
        self._wanted.set()

    def drain(self, why: str) -> None:
        """Let the replica take no new requests; `why` in one line for people."""
        self._why_not_up = why

    def unload(self, why: str) -> None:
        """Stop the replica, or let it sleep, until `load`."""
        self._why_not_up = why
        self._wanted.clear()

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
                    failures, self._start_cold = 0, False
                    continue
                except (SmallfirstError, OSError) as error:
                    reason = str(error)
                except Exception as error:
                    log.exception("%s: unexpected error", self._name)
                    reason = f"{type(error).__name__}: {error}"
                ready_s = time.monotonic() - self._ready_since if self._ready_since else 0.0
                failures = 1 if ready_s >= STABLE_S else failures + 1
                delay = backoff_s(failures, random.random())  # noqa: S311 - not for security
                self.restarts += 1
                self.has_failed = self.is_preparing = True
                # clients see the detail, so the reason goes only to the operator's log
                self._set_phase("restarting", f"restarting; next start in {delay:.0f} s")
                log.warning("%s: %s; next start in %.0f s", self._name, reason, delay)
                await asyncio.sleep(delay)
                self.has_failed = False
        finally:
            self._set_phase("stopped", "")
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _run_once(self) -> None:
        """Start the replica when it is wanted, and monitor it until it is not, or until it fails.

        Raises:
            EngineError: the replica could not start or stopped running. The message says why.
            ConfigError: an argument of the engine is invalid.
        """
        if self.is_preparing:
            if not self.restarts:
                self._set_phase("preparing", "preparing the model")
            self._path = await prepare(self._model, self._state_dir, self._progress)
            self.is_preparing = False
        if not self._wanted:
            self._set_phase("unloaded", "")
            await self._wanted.wait()
        if self.phase not in ("preparing", "restarting"):
            self._set_phase("starting", "starting")
        engine = await self._engine(self._path)
        if self.phase != "restarting":
            self._set_phase("starting", f"{engine.launch.title} starting")
        try:
            is_wanted = await self._wanted.run(self._start(engine))
            while not is_wanted and self._ready_since and engine.launch.can_sleep and await self._sleep(engine):
                is_wanted = await self._wanted.run(self._monitor(engine))
            self._set_phase("unloading", "")
        except Exception:
            self._set_phase("restarting", "restarting")  # before the stop below, which may take seconds
            raise
        finally:
            if self._adapters is not None:
                self._adapters.engine_ended()
            await engine.stop()
            self._hold_memory(False)

    async def _engine(self, path: str) -> EngineProcess:
        gpus = await asyncio.to_thread(visible_gpus, os.environ)
        host = Host(os.environ, gpus=gpus, cores=len(os.sched_getaffinity(0)))
        model = self._model
        if self._adapters is not None:
            model = model.model_copy(update={"vllm_args": await self._adapters.prepare(self._progress)})
        launch = LAUNCHERS[model.engine].launch(model, self._index, path, self._socket, host)
        log = log_file(self._state_dir, model.name, str(self._index))
        return EngineProcess(launch, self._folder, self._socket, log)

    async def _sleep(self, engine: EngineProcess) -> bool:
        """Let the engine sleep until the replica is wanted. Return False if it cannot sleep.

        Raises:
            EngineError: it ended meanwhile, or does not wake up.
        """
        self._set_phase("unloading", "")
        if not await engine.sleep():
            log.warning("%s: %s does not sleep; it is stopped instead", self._name, engine.launch.title)
            return False
        self._hold_memory(False)
        self._set_phase("asleep", "")
        while not self._wanted:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), READY_POLL_S)
            await engine.raise_if_ended(0)
        began = time.monotonic()
        self._hold_memory(True)
        self._set_phase("starting", f"{engine.launch.title} wakes up")
        await engine.wake_up()
        self._set_phase("ready", "")
        self._progress(f"{self._name}: awake after {time.monotonic() - began:.0f} s")
        return True

    async def _start(self, engine: EngineProcess) -> None:
        """Start the engine when its GPUs are free for that, and monitor it when it is healthy."""
        gpus = engine.launch.gpus
        if not self._gpu_turns.are_free(gpus):
            self._progress(f"{self._name}: waits for another engine that is starting on the same GPU")
            self._detail = "waiting for another engine that is starting on the same GPU"
        async with self._gpu_turns.turn(gpus):
            try:
                await self._make_ready(engine)
            except BaseException:
                await engine.stop()  # the next engine measures the memory that this one has given back
                raise
        await self._monitor(engine)

    async def _make_ready(self, engine: EngineProcess) -> None:
        """Start the engine and wait until it is healthy. After a warm start that failed, the next one is cold."""
        self._hold_memory(True)
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
                self._detail = f"{engine.launch.title} starting: {stage}"
                self._progress(f"{self._name}: {stage}{f', {now - began:.0f} s so far' if stage == told else ''}")
                told, told_at = stage, now
            await asyncio.sleep(STARTING_POLL_S)

    async def _monitor(self, engine: EngineProcess) -> None:
        title = engine.launch.title
        answered, misses = time.monotonic(), 0
        while time.monotonic() - answered < HANG_TIMEOUT_S:
            await engine.raise_if_ended(READY_POLL_S)
            await engine.limit_log_size()
            status = await engine.health()
            if status == 200:
                answered, misses = time.monotonic(), 0
                self._set_phase("ready", "")
                continue
            misses += 1
            self._is_late = status is None
            if status is not None or misses >= MISSES_UNTIL_UNRESPONSIVE:
                self._set_phase("unresponsive", f"{title} does not answer its health check")
        raise EngineError(f"{title} did not answer its health check for {HANG_TIMEOUT_S:.0f} s (more in {engine.log})")

    def _set_phase(self, phase: Phase, detail: str) -> None:
        self.phase, self._detail = phase, detail
        self.uptime.note(time.monotonic(), up=phase == "ready")

    def _hold_memory(self, holds: bool) -> None:
        self.holds_memory = holds
        self.paid.note(time.monotonic(), up=holds)
