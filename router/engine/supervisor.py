"""One managed vLLM: prepared, started, watched, and started again when it dies or hangs."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from router.config import Model
from router.engine.command import vllm_launch
from router.engine.gpu import gpu_present
from router.engine.process import Guarded, explain, log_file
from router.engine.source import prepare
from router.errors import EngineError, SmallfirstError

Phase = Literal["preparing", "starting", "ready", "restarting", "stopped"]

START_LIMIT_S = 900.0  # a start that takes longer never ends
HANG_LIMIT_S = 60.0  # a process that does not answer /health for so long is stuck
POLL_STARTING_S = 0.5
POLL_READY_S = 5.0
HEALTH_TIMEOUT_S = 10.0
PROGRESS_EVERY_S = 5.0
STABLE_S = 300.0  # a replica that was ready for so long failed by chance: start again at once
BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0
LOG_LIMIT_BYTES = 20_000_000
SOCKET_PATH_LIMIT = 107  # bytes: sun_path of a Unix socket, less its NUL
LONGEST_SOCKET_NAME = 36  # vLLM names its own sockets by UUIDs

log = logging.getLogger(__name__)


class Supervisor:
    """Keeps one replica of a managed model alive while `run` runs.

    `progress` gets a line for the user every few seconds while something takes long.
    """

    def __init__(self, model: Model, index: int, state_dir: Path, progress: Callable[[str], None]) -> None:
        self.phase: Phase = "preparing"
        self.detail = ""
        self.restarts = 0
        self._model = model
        self._index = index
        self._state_dir = state_dir
        self._progress = progress
        self._name = model.name if model.replicas == 1 else f"{model.name}/{index}"
        self._log = log_file(state_dir, model.name, str(index))
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
            self._folder.mkdir(mode=0o700)
            while True:
                self._ready_since = None
                try:
                    await self._live()
                except (SmallfirstError, OSError) as error:
                    reason = str(error)
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
            gpu=await asyncio.to_thread(gpu_present),
            cores=len(os.sched_getaffinity(0)),
        )
        if not self.restarts:
            self._enter("starting", "vLLM starting")
        self._socket.unlink(missing_ok=True)  # vLLM does not start where a dead one has left its socket
        with new_log(self._log).open("ab") as output:
            process = await Guarded.start(launch.argv, launch.env, stdout=output, stderr=output)
        try:
            await self._until_ready(process)
            await self._watch(process)
        finally:
            await process.stop()

    async def _until_ready(self, process: Guarded) -> None:
        began = reported = time.monotonic()
        while not await healthy(self._socket):
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
        while time.monotonic() - answered < HANG_LIMIT_S:
            await self._raise_if_ended(process, POLL_READY_S)
            await asyncio.to_thread(bound_log, self._log)
            if await healthy(self._socket):
                answered = time.monotonic()
        raise EngineError(f"vLLM did not answer its health check for {HANG_LIMIT_S:.0f} s (more in {self._log})")

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


def backoff_s(failures: int) -> float:
    """Return the seconds to wait before the next start after so many failures in a row: 1, 2, 4, .. 60."""
    return float(min(MAX_BACKOFF_S, BACKOFF_S * 2 ** min(failures - 1, 10)))


def runtime_folder() -> Path:
    """Return a new private folder's path, short enough for the names of Unix sockets in it."""
    name = f"smallfirst-{secrets.token_hex(4)}"
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()):
        if base and os.access(base, os.W_OK):
            folder = Path(base, name)
            if len(os.fsencode(folder)) + 1 + LONGEST_SOCKET_NAME <= SOCKET_PATH_LIMIT:
                return folder
    return Path("/tmp", name)  # noqa: S108 - made with mode 0700, and only if nothing is there


async def healthy(socket: Path) -> bool:
    """Return whether the server on the socket answers `GET /health` with 200 in time."""
    try:
        async with asyncio.timeout(HEALTH_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"GET /health HTTP/1.1\r\nHost: vllm\r\nConnection: close\r\n\r\n")
                status_line = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False
    return status_line.split()[1:2] == [b"200"]


def new_log(path: Path) -> Path:
    """Put the log of the previous start aside, as `NAME.1`, and return the path of the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(f"{path}.1")
    return path


def bound_log(path: Path) -> None:
    """Empty a log that has grown too long, its content put aside; the process that appends to it goes on."""
    if path.stat().st_size > LOG_LIMIT_BYTES:
        shutil.copyfile(path, f"{path}.1")
        os.truncate(path, 0)


def read_last_words(path: Path, tail_bytes: int = 50_000) -> str:
    """Return why the process that wrote this log ended."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - tail_bytes))
        return last_words(file.read().decode(errors="replace"))


def last_words(text: str) -> str:
    """Return the line that says why vLLM ended: the first error of the tail, which caused the others, or the last line.

    Lines of vLLM's processes begin with `(EngineCore pid=12) `, errors that it logs with level, time and place too.
    """
    prefix = r"(?:\(\w+ pid=\d+\) )?(?:ERROR [\d-]+ [\d:]+ \[[^\]]*\] )?"
    lines = [re.sub(f"^{prefix}", "", line).strip() for line in text.splitlines()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|error)\b.*: |[\w.]+: error: ", line)]
    named = [line for line in lines if line]
    return (errors or named[-1:] or [""])[0][:500]
