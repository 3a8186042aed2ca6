"""How long a gateway takes to start, and which heavy packages it has imported by then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.common.machine import ROOT
from benchmarks.common.processes import StartFailed, free_port, wait_until_healthy
from benchmarks.common.report import Say
from benchmarks.overhead.processes import NOWHERE, MeasuredProcesses, environment, models_yaml

STARTS, QUICK_STARTS = 5, 1
HEAVY = ("torch", "vllm", "transformers", "aiohttp")
"""packages that the gateway does not need to serve; each takes a good part of a second or more to import"""


@dataclass(frozen=True, slots=True)
class StartupTimes:
    """Seconds from the command to the first 200 of /health, and the heavy packages smallfirst has imported by then."""

    seconds: Mapping[str, Sequence[float]]
    heavy_modules: Sequence[str]


def measure(upstream: str, count: int, say: Say) -> StartupTimes:
    """Start and stop the gateway and the pass-through in turn.

    Raises:
        StartFailed: one of them did not start.
    """
    seconds: dict[str, list[float]] = {"passthrough": [], "smallfirst": []}
    for number in range(1, count + 1):
        for name, taken in seconds.items():
            with tempfile.TemporaryDirectory(prefix="startup-") as folder, MeasuredProcesses(Path(folder)) as started:
                began = time.monotonic()
                if name == "smallfirst":
                    started.smallfirst(name, upstream)
                else:
                    started.passthrough(upstream)
                taken.append(time.monotonic() - began)
        say(f"start {number}/{count}: {', '.join(f'{name} {taken[-1]:.2f} s' for name, taken in seconds.items())}")
    return StartupTimes(seconds, heavy(imported()))


def heavy(modules: Iterable[str]) -> list[str]:
    """Return the packages of `HEAVY` that have a module among these."""
    packages = {module.partition(".")[0] for module in modules}
    return [name for name in HEAVY if name in packages]


def imported() -> list[str]:
    """Return the modules that `smallfirst serve` has imported when /health first answers 200.

    Raises:
        StartFailed: it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        config, output = Path(folder) / "models.yaml", Path(folder) / "modules.json"
        config.write_text(json.dumps(models_yaml(NOWHERE)), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.overhead.startup", str(config), str(output)]
        env = environment() | {"SMALLFIRST_STATE_DIR": folder}
        answer = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if not output.exists():
            raise StartFailed(f"smallfirst did not start: {answer.stderr[-1000:]}")
        return list(json.loads(output.read_text(encoding="utf-8")))


def _serve(config: str, output: Path) -> int:
    """Run `smallfirst serve` in this process; when it is healthy, write the names of its modules and stop."""
    from server.cli import main  # noqa: PLC0415 - only in this process

    port = free_port()
    threading.Thread(target=_write_modules, args=(port, output), daemon=True).start()
    return main(["serve", f"--config={config}", "--host=127.0.0.1", f"--port={port}"])


def _write_modules(port: int, output: Path) -> None:
    if wait_until_healthy(port):
        output.write_text(json.dumps(sorted(sys.modules)), encoding="utf-8")
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_serve(sys.argv[1], Path(sys.argv[2])))
