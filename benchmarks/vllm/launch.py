"""`smallfirst serve` with the vLLM that it manages: started for a measurement, and gone after it, however that ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.vllm.sides import NotThere, get
from router.engine import guard
from router.engine.process import Guarded, explain

POLL_S = 0.5
REPORT_EVERY_S = 15.0
SHUTDOWN_S = 45.0

Say = Callable[[str], None]


class StartFailed(Exception):
    """The gateway or its vLLM did not come up."""


@dataclass(frozen=True, slots=True)
class Launched:
    """A gateway that is ready, and the roots (`unix:PATH`) of its vLLM processes."""

    root: str
    pids: tuple[int, ...]
    """the gateway's own processes, vLLM's not among them"""
    tree: int
    """the process below which all of it runs"""
    engines: tuple[str, ...]
    started_in_s: float
    restarts: int
    """how often a vLLM had to be started again until all were up"""
    commands: tuple[str, ...]
    """each vLLM's command line"""


@contextlib.asynccontextmanager
async def launched(
    config: Path, log: Path, say: Say, *, flags: Sequence[str] = (), env: Mapping[str, str] = {}, limit_s: float = 900
) -> AsyncIterator[Launched]:
    """Start a gateway, wait until every replica is up, and stop it all at the end. Its output goes to `log`.

    Raises:
        StartFailed: it ended, or was not ready in time.
    """
    port = free_port()
    address = ("--host=127.0.0.1", f"--port={port}")
    command = (sys.executable, "-m", "server.cli", "serve", f"--config={config}", *address, *flags)
    with log.open("wb") as output:
        process = await Guarded.start(command, environment(os.environ) | dict(env), stdout=output, stderr=output)
    try:
        root = f"http://127.0.0.1:{port}"
        began = time.monotonic()
        restarts = await _until_ready(process, root, log, say, limit_s)
        took = time.monotonic() - began
        ours, engines = _sort(process.pid)
        if not ours:
            raise StartFailed(f"the gateway's process is not to be found (more in {log})")
        roots = tuple(sorted(engines))
        yield Launched(root, ours, process.pid, roots, took, restarts, tuple(engines[one] for one in roots))
    finally:
        await asyncio.shield(_stop(process))


@contextlib.contextmanager
def workplace(say: Say) -> Iterator[Path]:
    """Yield a new folder, for logs and the like; it stays, and its path is told, where the measurement fails."""
    folder = Path(tempfile.mkdtemp(prefix="smallfirst-benchmark-"))
    try:
        yield folder
    except Exception:
        say(f"the gateway's log and what else is left: {folder}")
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def shown(command: Sequence[str]) -> str:
    """Return a command for a report: of the files and folders of this machine only their names."""
    return " ".join(part.rpartition("/")[2] if part.startswith("/") else part for part in command)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment for the gateway: of its own settings only where it keeps its state, so no client keys."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("SMALLFIRST_") or name == "SMALLFIRST_STATE_DIR"
    }


def free_port() -> int:
    """Return a TCP port of the loopback address on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def other_engines() -> list[int]:
    """Return the processes on this machine that serve vLLM; each would disturb a measurement."""
    return [pid for pid in (process.pid for process in guard.processes()) if "vllm.entrypoints" in _text(pid)]


async def _until_ready(process: Guarded, root: str, log: Path, say: Say, limit_s: float) -> int:
    """Wait; return how many restarts it took."""
    began = reported = time.monotonic()
    detail = "the gateway is starting"
    while time.monotonic() - began < limit_s:
        if (status := await process.exited(POLL_S)) is not None:
            raise StartFailed(f"`smallfirst serve` {explain(status)}:\n{tail(log)}")
        with contextlib.suppress(NotThere):
            answer = await get(root, "/ready")
            body = await answer.json(content_type=None)
            if body["status"] == "ready":
                return sum(model["restarts"] for model in body["models"].values())
            detail = "; ".join(model["detail"] for model in body["models"].values() if model.get("detail")) or detail
        if time.monotonic() - reported >= REPORT_EVERY_S:
            reported = time.monotonic()
            say(f"  {reported - began:.0f} s: {detail}")
    raise StartFailed(f"not ready after {limit_s:.0f} s: {detail}\n{tail(log)}")


async def _stop(process: Guarded) -> None:
    """Ask the gateway to end, so that it stops its vLLM in order; then make sure that nothing is left."""
    if ours := _sort(process.pid)[0]:  # none: it is only about to start
        with contextlib.suppress(ProcessLookupError):
            os.kill(ours[0], signal.SIGTERM)
        await process.exited(SHUTDOWN_S)
    await process.stop()


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _sort(root: int) -> tuple[tuple[int, ...], dict[str, str]]:
    """Tell apart what runs below the guards of a gateway: its own processes, the first one first, and its engines.

    The engines are their roots with their commands. They run under guards of their own, so a walk down from the
    gateway that stops at guards meets the gateway's processes alone.
    """
    children: dict[int, list[int]] = {}
    for process in guard.processes():
        children.setdefault(process.parent, []).append(process.pid)
    commands = {pid: _text(pid).rstrip("\0").split("\0") for pid in guard.descendants(root)}
    guards = {pid for pid, line in commands.items() if any(part.endswith("guard.py") for part in line)}
    others = {pid: line for pid, line in commands.items() if pid not in guards}
    ours = [pid for pid, line in others.items() if line[1:3] == ["-m", "server.cli"]]
    first = [pid for pid in ours if not any(pid in children.get(other, ()) for other in ours)][:1]
    for pid in first:  # grows while it is walked
        first += [child for child in children.get(pid, ()) if child in others]
    engines = {f"unix:{line[line.index('--uds') + 1]}": shown(line) for line in others.values() if "--uds" in line}
    return tuple(first), engines


def _text(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:  # it ended meanwhile
        return ""
