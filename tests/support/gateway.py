"""The real thing: `smallfirst serve` as a process of its own, asked over HTTP."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.metrics import Metrics
from tests.support.sockets import free_port
from tests.support.waiting import NEVER_S, PATIENCE_S

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-c", "import sys; from server.cli import main; sys.exit(main())")
"""what the console script `smallfirst` does, wherever it is installed"""
START_S = 180.0
"""a start is a second of imports on a quiet machine; several may be under way at once on a busy one"""


def clean_env(state_dir: Path | None, more: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that would change what the gateway does. No `state_dir`: the user's own."""
    ours = ("SMALLFIRST_", "OPENAI_", "HF_TOKEN")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(ours) and not k.lower().endswith("_proxy")}
    state = str(state_dir) if state_dir else os.environ.get("SMALLFIRST_STATE_DIR")
    return kept | ({"SMALLFIRST_STATE_DIR": state} if state else {}) | {"PYTHONUNBUFFERED": "1"} | dict(more)


def run(*args: str, folder: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run `smallfirst ARGS` to its end."""
    return subprocess.run(
        [*COMMAND, *args],
        cwd=ROOT,
        env=clean_env(folder / "state", env or {}),
        capture_output=True,
        text=True,
        timeout=START_S,
        check=False,
    )


class Gateway:
    """`with Gateway(config, folder) as gateway`; leaving checks that nothing is left behind."""

    def __init__(
        self,
        config: Mapping[str, Any] | str,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        args: Sequence[str] = (),
        start_s: float = START_S,
        own_state: bool = True,
        patch: str = "",
        before: Sequence[str] = (),
    ) -> None:
        """`patch`: Python that runs before the command, for what no setting can say; `before`: words before it."""
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "models.yaml"
        text = config if isinstance(config, str) else yaml.safe_dump(dict(config), sort_keys=False)
        self.config.write_text(text, encoding="utf-8")
        self.env = {"SMALLFIRST_SHUTDOWN_GRACE_S": str(NEVER_S)} | dict(env or {})
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start_s = start_s
        self.users: dict[str, str] = {}  # which test had which lane
        self._state_dir = folder / "state" if own_state else None
        program = (*COMMAND[:-1], f"{patch}\n{COMMAND[-1]}") if patch else COMMAND
        options = (f"--config={self.config}", "--host=127.0.0.1", f"--port={self.port}")
        self._command = [*before, *program, "serve", *options, *args]
        self._launched = False
        self._log = folder / "output.log"
        keys = self.env.get("SMALLFIRST_API_KEYS", "")
        self.key = keys.split(",")[0].strip()
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S, trust_env=False)

    def launch(self) -> Gateway:
        """Start the process and do not wait for it."""
        self._launched = True
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=clean_env(self._state_dir, self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self

    def start(self) -> Gateway:
        """Start it where that has not been done, and wait for /health."""
        if not self._launched:
            self.launch()
        end = time.monotonic() + self.start_s  # it may have been launched long ago
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode} at the start:\n{self.output}")
            try:
                if self.http.get("/health").status_code == 200:
                    return self
            except httpx.TransportError:
                time.sleep(0.02)
        self.kill()
        raise AssertionError(f"no /health after {self.start_s} s:\n{self.output}")

    def terminate(self) -> None:
        """Send SIGTERM and go on."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def output(self) -> str:
        """All that it wrote to stdout and stderr."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def metrics(self) -> Metrics:
        answer = self.http.get("/metrics")
        assert answer.status_code == 200
        return Metrics(answer.text)

    def wait_for_ready(self, limit_s: float = PATIENCE_S, *, status: str = "ready") -> dict[str, Any]:
        """Wait until /ready says so; return its body."""
        end = time.monotonic() + limit_s
        while True:
            body = self.http.get("/ready").json()
            if body["status"] == status:
                return body
            assert self.running, f"it ended:\n{self.output}"
            assert time.monotonic() < end, f"not {status} after {limit_s:.0f} s: {body}\n{self.output[-5000:]}"
            time.sleep(0.05)

    def assert_idle(self) -> None:
        """Every slot, lease and place in the queue is free again, now or soon: no limit of an upstream frees it."""
        end = time.monotonic() + PATIENCE_S
        while busy := self.metrics().busy():
            if time.monotonic() > end:
                tests = [self.users.get(number) for name in busy for number in re.findall(r"-(\d+)\"", name)]
                raise AssertionError(f"still taken {PATIENCE_S} s after the last answer: {busy}; test: {tests}")
            time.sleep(0.01)

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if self.running and kind is None:
                self.assert_idle()
        finally:
            self.http.close()
            if self.running:
                self.terminate()
            try:
                self.wait()
            except subprocess.TimeoutExpired:
                self.kill()
                raise AssertionError(f"SIGTERM did not end it:\n{self.output}") from None
        assert "Traceback" not in self.output, self.output
