"""Starts what is measured, each as a process of its own on loopback."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.machine import ROOT
from benchmarks.overhead.answers import SCRIPTS
from benchmarks.overhead.measure import KEY, Target

START_S = 30.0
TAIL_CHARACTERS = 2000
CONTEXT = 131_072
NOWHERE = "http://127.0.0.1:9/v1"
SMALLFIRST = (sys.executable, "-c", "import sys; from server.cli import main; sys.exit(main())")
"""what the command `smallfirst` does, from the checkout in whose folder it runs"""


class StartFailed(Exception):
    """A process ended, or did not answer, at its start."""


class Started:
    """Processes that end with the `with` block; their output goes to `folder`, and is shown where the run failed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        self._logs: list[Path] = []

    def upstream(self, port: int, pause_ms: float) -> Target:
        """Start the scripted upstream."""
        port = port or _free_port()
        arguments = (f"--port={port}", f"--pause-ms={pause_ms}")
        return self._start("direct", [sys.executable, "-m", "benchmarks.overhead.upstream", *arguments], port)

    def passthrough(self, upstream: str) -> Target:
        """Start the reference."""
        port = _free_port()
        arguments = (f"--port={port}", f"--upstream={upstream}")
        return self._start("passthrough", [sys.executable, "-m", "benchmarks.overhead.passthrough", *arguments], port)

    def smallfirst(
        self, name: str, upstream: str, *, checkout: Path = ROOT, key: bool = True, workers: int | None = None
    ) -> Target:
        """Start the gateway of a checkout, by default of this one."""
        port = _free_port()
        folder = self._folder / f"{name}{'' if key else '-nokey'}"
        folder.mkdir(parents=True)
        config = folder / "models.yaml"
        config.write_text(json.dumps(models_yaml(upstream)), encoding="utf-8")
        command = [*SMALLFIRST, "serve", f"--config={config}", "--host=127.0.0.1", f"--port={port}"]
        command += [f"--workers={workers}"] if workers else []
        env = {"SMALLFIRST_STATE_DIR": str(folder)} | ({"SMALLFIRST_API_KEYS": KEY} if key else {})
        return self._start(name, command, port, folder=checkout, env=env, log=folder / "output.log")

    def _start(
        self,
        name: str,
        command: Sequence[str],
        port: int,
        *,
        folder: Path = ROOT,
        env: Mapping[str, str] = {},
        log: Path | None = None,
    ) -> Target:
        log = log or self._folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=folder, env=_environment() | dict(env), stdin=subprocess.DEVNULL, stdout=output,
                stderr=output,
            )  # fmt: skip
        self._running.append(process)
        self._logs.append(log)
        end = time.monotonic() + START_S
        while not _healthy(port):
            if process.poll() is not None or time.monotonic() > end:
                raise StartFailed(f"{name} did not start")
            time.sleep(0.02)
        return Target(name, f"http://127.0.0.1:{port}/v1", process.pid)

    def __enter__(self) -> Started:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._running):
            process.terminate()
        for process in reversed(self._running):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if isinstance(error, Exception):
            for log in self._logs:
                if text := log.read_text(errors="replace").strip():
                    print(f"--- {log.relative_to(self._folder)}:\n{text[-TAIL_CHARACTERS:]}", file=sys.stderr)


def models_yaml(upstream: str) -> dict[str, Any]:
    """Return smallfirst's configuration: for each answer a route with a small model and a fallback.

    The fallback is nowhere, so that a request that goes to it fails, instead of being measured as something else.
    """
    small: dict[str, Any] = {"tier": "slm", "engine": "vllm", "base_url": upstream, "context": CONTEXT}
    small["price"] = {"replica_hour_usd": 2.69}
    large: dict[str, Any] = {"tier": "llm", "engine": "openai", "base_url": NOWHERE, "upstream_model": "large"}
    large["price"] = {"input_usd_per_mtok": 0.4, "cached_input_usd_per_mtok": 0.1, "output_usd_per_mtok": 1.6}
    models = {f"slm-{name}": small | {"upstream_model": name} for name in SCRIPTS}
    routes = {f"auto-{name}": {"ladder": [f"slm-{name}", "large"], "policy": "fixed"} for name in SCRIPTS}
    return {"models": models | {"large": large}, "routes": routes}


def takes_workers(checkout: Path = ROOT) -> bool:
    """Return whether `smallfirst serve` of this checkout has `--workers`."""
    command = [*SMALLFIRST, "serve", "--help"]
    answer = subprocess.run(command, cwd=checkout, env=_environment(), capture_output=True, text=True, check=True)
    return "--workers" in answer.stdout


def _environment() -> dict[str, str]:
    """Return the environment without anything that would change what is measured."""
    others = ("SMALLFIRST_", "OPENAI_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False
