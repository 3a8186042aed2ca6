"""Starts what is measured: the scripted upstream, the pass-through, and smallfirst."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.common.machine import ROOT
from benchmarks.common.processes import Command, Processes, StartFailed, environment_without, free_port
from benchmarks.overhead.answers import SCRIPTS
from benchmarks.overhead.measure import KEY, Target

__all__ = ["MeasuredProcesses", "StartFailed", "environment", "models_yaml", "takes_workers"]

CONTEXT = 131_072
NOWHERE = "http://127.0.0.1:9/v1"
SMALLFIRST = (sys.executable, "-c", "import sys; from server.cli import main; sys.exit(main())")
"""the command `smallfirst` of the checkout in whose folder it runs"""


class MeasuredProcesses(Processes):
    """What is measured, each in its own process on loopback. See `Processes`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder

    def upstream(self, port: int, pause_ms: float) -> Target:
        """Start the scripted upstream."""
        return self._module("direct", "upstream", port or free_port(), f"--pause-ms={pause_ms}")

    def passthrough(self, upstream: str) -> Target:
        """Start the reference."""
        return self._module("passthrough", "passthrough", free_port(), f"--upstream={upstream}")

    def smallfirst(
        self, name: str, upstream: str, *, checkout: Path = ROOT, key: bool = True, workers: int | None = None
    ) -> Target:
        """Start the gateway of a checkout, by default of this one."""
        port = free_port()
        folder = self._folder / f"{name}{'' if key else '-nokey'}"
        folder.mkdir(parents=True)
        config = folder / "models.yaml"
        config.write_text(json.dumps(models_yaml(upstream)), encoding="utf-8")
        arguments = [*SMALLFIRST, "serve", f"--config={config}", "--host=127.0.0.1", f"--port={port}"]
        arguments += [f"--workers={workers}"] if workers else []
        env = environment() | {"SMALLFIRST_STATE_DIR": str(folder)} | ({"SMALLFIRST_API_KEYS": KEY} if key else {})
        return self._target(Command(name, arguments, port, env, checkout), folder / "output.log")

    def _module(self, name: str, module: str, port: int, *flags: str) -> Target:
        arguments = [sys.executable, "-m", f"benchmarks.overhead.{module}", f"--port={port}", *flags]
        return self._target(Command(name, arguments, port, environment()), self._folder / f"{name}.log")

    def _target(self, command: Command, log: Path) -> Target:
        return Target(command.name, f"http://127.0.0.1:{command.port}/v1", self.start(command, log))


def models_yaml(upstream: str) -> dict[str, Any]:
    """Return smallfirst's configuration: for each answer a route with a small model and a fallback.

    Nobody listens at the fallback's address, so a request that goes there fails instead of being measured.
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
    answer = subprocess.run(command, cwd=checkout, env=environment(), capture_output=True, text=True, check=True)
    return "--workers" in answer.stdout


def environment() -> dict[str, str]:
    """Return the environment without anything that would change what is measured."""
    kept = environment_without(("SMALLFIRST_", "OPENAI_", "PYTHON"))
    return {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
