"""How long until the gateway serves, and what it has imported by then."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.overhead.processes import NOWHERE, START_S, Started, StartFailed, models_yaml

STARTS, QUICK_STARTS = 5, 1
HEAVY = ("torch", "vllm", "transformers", "aiohttp")
"""what the gateway need not have to serve: each takes a good part of a second, or many"""


@dataclass(frozen=True, slots=True)
class Starts:
    """Seconds from the command to the first 200 of /health, and the heavy modules that smallfirst had imported then."""

    seconds: Mapping[str, Sequence[float]]
    heavy_modules: Sequence[str]


def measure(upstream: str, count: int, show: Callable[[str], None]) -> Starts:
    """Start and stop the gateway and the pass-through in turn.

    Raises:
        StartFailed: one of them did not start.
    """
    seconds: dict[str, list[float]] = {"passthrough": [], "smallfirst": []}
    for number in range(1, count + 1):
        for name, taken in seconds.items():
            with tempfile.TemporaryDirectory(prefix="starts-") as folder, Started(Path(folder)) as started:
                began = time.monotonic()
                if name == "smallfirst":
                    started.smallfirst(name, upstream)
                else:
                    started.passthrough(upstream)
                taken.append(time.monotonic() - began)
        show(f"start {number}/{count}: {', '.join(f'{name} {taken[-1]:.2f} s' for name, taken in seconds.items())}")
    return Starts(seconds, heavy(imported()))


def heavy(modules: Iterable[str]) -> list[str]:
    """Return those packages of `HEAVY` of which a module is there."""
    packages = {module.partition(".")[0] for module in modules}
    return [name for name in HEAVY if name in packages]


def imported() -> list[str]:
    """Return the modules that `smallfirst serve` has imported when /health first answers 200.

    Raises:
        StartFailed: it did not come so far.
    """
    with tempfile.TemporaryDirectory(prefix="starts-") as folder:
        config, said = Path(folder) / "models.yaml", Path(folder) / "modules.json"
        config.write_text(json.dumps(models_yaml(NOWHERE)), encoding="utf-8")
        command = [sys.executable, "-m", "benchmarks.overhead.starts", str(config), str(said)]
        env = {name: value for name, value in os.environ.items() if not name.startswith("SMALLFIRST_")}
        env["SMALLFIRST_STATE_DIR"] = folder
        answer = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        if not said.exists():
            raise StartFailed(f"smallfirst did not start: {answer.stderr[-1000:]}")
        return list(json.loads(said.read_text(encoding="utf-8")))


def _serve(config: str, said: Path) -> int:
    """Be `smallfirst serve`; when it serves, write down what is imported, and stop."""
    from server.cli import main  # noqa: PLC0415 - in this process only

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    threading.Thread(target=_look, args=(port, said), daemon=True).start()
    return main(["serve", f"--config={config}", "--host=127.0.0.1", f"--port={port}"])


def _look(port: int, said: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                said.write_text(json.dumps(sorted(sys.modules)), encoding="utf-8")
                break
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(_serve(sys.argv[1], Path(sys.argv[2])))
