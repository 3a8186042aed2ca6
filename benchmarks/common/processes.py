"""Starting and stopping processes that are measured."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from benchmarks.common.machine import ROOT

START_S = 60.0
STOP_S = 20.0
POLL_S = 0.02
LOG_CHARACTERS = 2000


class StartFailed(Exception):
    """A process ended, or did not answer, at its start."""


class Command(NamedTuple):
    """A server to start on a port of the loopback address."""

    name: str
    arguments: Sequence[str]
    port: int
    environment: Mapping[str, str]
    folder: Path = ROOT
    """where it runs"""


class Processes:
    """Processes that end with the `with` block.

    Their output goes to files in `folder`. If the block raises, the ends of these files are printed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._logs: list[Path] = []

    def start(self, command: Command, log: Path) -> int:
        """Start a server and wait until its `/health` answers 200; return the process id.

        Raises:
            StartFailed: it ended, or did not answer in time.
        """
        with log.open("wb") as output:
            process = subprocess.Popen(
                command.arguments, cwd=command.folder, env=dict(command.environment), stdin=subprocess.DEVNULL,
                stdout=output, stderr=output,
            )  # fmt: skip
        self._running.append(process)
        self._logs.append(log)
        if not wait_until_healthy(command.port, lambda: process.poll() is None):
            raise StartFailed(f"{command.name} did not start")
        return process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if isinstance(error, Exception):
            for log in self._logs:
                if text := log.read_text(errors="replace").strip():
                    print(f"--- {log.relative_to(self._folder)}:\n{text[-LOG_CHARACTERS:]}", file=sys.stderr)


def free_port() -> int:
    """Return a free TCP port of the loopback address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_healthy(port: int, alive: Callable[[], bool] = lambda: True) -> bool:
    """Wait until `/health` of a server on loopback answers 200; return whether it did in time."""
    end = time.monotonic() + START_S
    while not is_healthy(port):
        if not alive() or time.monotonic() > end:
            return False
        time.sleep(POLL_S)
    return True


def is_healthy(port: int) -> bool:
    """Return whether `/health` of a server on loopback answers 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def environment_without(
    prefixes: tuple[str, ...], *, keep: tuple[str, ...] = (), environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment without the variables of these prefixes, except those to keep."""
    return {name: value for name, value in environ.items() if name in keep or not name.startswith(prefixes)}


@contextlib.contextmanager
def scratch_folder(say: Callable[[str], None]) -> Iterator[Path]:
    """Yield a new folder for logs and other files. If the block raises an error, the folder stays and is named."""
    folder = Path(tempfile.mkdtemp(prefix="smallfirst-benchmark-"))
    try:
        yield folder
    except Exception:
        say(f"the gateway's log and the other files are in {folder}")
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
