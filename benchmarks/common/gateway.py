"""`smallfirst serve` with the vLLM that it manages: started for a measurement, and stopped after it in any case."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common.processes import StartFailed, environment_without, free_port
from benchmarks.common.report import Say
from benchmarks.common.servers import NoAnswer, get, serving
from router.engine import guard
from router.engine.process import Guarded, explain

POLL_S = 0.5
REPORT_EVERY_S = 15.0
SHUTDOWN_S = 45.0
START_S = 900.0


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """A gateway that is ready, and the roots (`unix:PATH`) of its vLLM processes."""

    root: str
    pids: tuple[int, ...]
    """the gateway's own processes, without vLLM's"""
    tree: int
    """the process below which all of them run"""
    engines: tuple[str, ...]
    started_in_s: float
    restarts: int
    """how often vLLM processes were restarted until all were up"""
    commands: tuple[str, ...]
    """each vLLM's command line"""


@dataclass(frozen=True, slots=True)
class Start:
    """How to start a gateway."""

    config: Path
    log: Path
    """where its output goes"""
    flags: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    limit_s: float = START_S


@dataclass(frozen=True, slots=True)
class Servers:
    """A gateway and the vLLM servers behind it that serve one model. Roots are `http://host:port` or `unix:/path`."""

    gateway: str
    engines: tuple[str, ...]
    model: str
    started: RunningGateway | None = None
    """None: they were already running"""


@contextlib.asynccontextmanager
async def servers(options: argparse.Namespace, start: Start, model: str | None, say: Say) -> AsyncIterator[Servers]:
    """Yield the servers at `--url` and `--direct`, or those of a gateway that is started.

    Args:
        options: the command line with `url` and `direct`.
        start: how to start a gateway if there is no `--url`.
        model: the small model's name; None: the first that vLLM serves.
        say: prints the progress.

    Raises:
        StartFailed: the gateway did not start.
        NoAnswer: no vLLM serves the model.
    """
    if options.url:
        name, roots = await serving([options.direct], model)
        yield Servers(options.url, roots, name)
        return
    warn_of_other_engines(say)
    async with running_gateway(start, say) as started:
        name, roots = await serving(started.engines, model)
        yield Servers(started.root, roots, name, started)


@contextlib.asynccontextmanager
async def running_gateway(start: Start, say: Say) -> AsyncIterator[RunningGateway]:
    """Start a gateway, wait until every replica is up, and stop all of it at the end.

    Raises:
        StartFailed: it ended, or was not ready in time.
    """
    say(f"starting smallfirst serve --config {start.config.name}")
    process, root = await launch(start)
    try:
        began = time.monotonic()
        restarts = await _until_ready(process, root, start, say)
        took = time.monotonic() - began
        own, engines = _own_and_engines(process.pid)
        if not own:
            raise StartFailed(f"the gateway's process was not found (more in {start.log})")
        say(f"  ready after {took:.0f} s{f', {restarts} restarts' if restarts else ''}")
        roots = tuple(sorted(engines))
        yield RunningGateway(root, own, process.pid, roots, took, restarts, tuple(engines[one] for one in roots))
    finally:
        await asyncio.shield(stop(process))


async def launch(start: Start) -> tuple[Guarded, str]:
    """Start a gateway, which the caller must `stop`; return it and its root. It does not listen yet."""
    port = free_port()
    env = gateway_environment(os.environ) | dict(start.environment)
    with start.log.open("wb") as output:
        command = serve_command(start.config, port, start.flags)
        process = await Guarded.start(command, env, stdout=output, stderr=output)
    return process, f"http://127.0.0.1:{port}"


def serve_command(config: Path, port: int, flags: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the command of a gateway on a port of the loopback address."""
    address = ("--host=127.0.0.1", f"--port={port}")
    return (sys.executable, "-m", "server.cli", "serve", f"--config={config}", *address, *flags)


def warn_of_other_engines(say: Say) -> None:
    """Print a note if this machine runs another vLLM, which would disturb a measurement."""
    others = [process.pid for process in guard.processes() if "--uds" in command_words(process.pid)]
    if others:
        say(f"note: another vLLM runs on this machine (process {others[0]}) and will disturb the measurement")


def shown(command: Sequence[str]) -> str:
    """Return a command for a report, with only the names of this machine's files and folders."""
    return " ".join(part.rpartition("/")[2] if part.startswith("/") else part for part in command)


def gateway_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment without the gateway's settings, such as client keys, except its state folder."""
    return environment_without(("SMALLFIRST_",), keep=("SMALLFIRST_STATE_DIR",), environ=environ)


def tail(log: Path, lines: int = 15) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


async def _until_ready(process: Guarded, root: str, start: Start, say: Say) -> int:
    """Wait until the gateway and its vLLM are ready; return how many restarts it took."""
    began = reported = time.monotonic()
    detail = "the gateway is starting"
    while time.monotonic() - began < start.limit_s:
        if (status := await process.exited(POLL_S)) is not None:
            raise StartFailed(f"`smallfirst serve` {explain(status)}:\n{tail(start.log)}")
        with contextlib.suppress(NoAnswer):
            answer = await get(root, "/ready")
            body = await answer.json(content_type=None)
            if body["status"] == "ready":
                return sum(model["restarts"] for model in body["models"].values())
            detail = "; ".join(model["detail"] for model in body["models"].values() if model.get("detail")) or detail
        if time.monotonic() - reported >= REPORT_EVERY_S:
            reported = time.monotonic()
            say(f"  {reported - began:.0f} s: {detail}")
    raise StartFailed(f"not ready after {start.limit_s:.0f} s: {detail}\n{tail(start.log)}")


async def stop(process: Guarded) -> None:
    """Ask the gateway to end, so that it stops its vLLM in order; then kill what is left."""
    if own := _own_and_engines(process.pid)[0]:  # empty if it has only begun to start
        with contextlib.suppress(ProcessLookupError):
            os.kill(own[0], signal.SIGTERM)
        await process.exited(SHUTDOWN_S)
    await process.stop()


def _own_and_engines(root: int) -> tuple[tuple[int, ...], dict[str, str]]:
    """Return the gateway's own processes, the first one first, and its engines: root -> command.

    Engines run under guards of their own. So a walk down from the gateway that stops at guards finds only the gateway's
    processes. The process that engines are forked from is theirs, not the gateway's.
    """
    children: dict[int, list[int]] = {}
    for process in guard.processes():
        children.setdefault(process.parent, []).append(process.pid)
    commands = {pid: command_words(pid) for pid in guard.descendants(root)}
    others = {pid: line for pid, line in commands.items() if not is_guard(line)}
    gateways = [pid for pid, line in others.items() if line[1:3] == ["-m", "server.cli"]]
    own = [pid for pid in gateways if not any(pid in children.get(other, ()) for other in gateways)][:1]
    for pid in own:  # the list grows during the loop
        own += [child for child in children.get(pid, ()) if child in others]
    engines = {f"unix:{line[line.index('--uds') + 1]}": shown(line) for line in others.values() if "--uds" in line}
    return tuple(own), engines


def command_words(pid: int) -> list[str]:
    """Return a process's command line in words. Engines that were forked have set theirs as one text."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").rstrip("\0").replace("\0", " ").split(" ")
    except OSError:  # it has ended
        return [""]


def is_guard(command: Sequence[str]) -> bool:
    """Return whether a command is that of a guard, or of the process that engines are forked from."""
    return command[0] == "smallfirst:" or any(
        part.endswith(("guard.py", "router.engine.warm_parent")) for part in command
    )
