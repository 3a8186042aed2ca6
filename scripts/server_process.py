"""A server started with `make serve`, for the scripts that try it out. Its output is printed with times, and read."""

from __future__ import annotations

# ruff: noqa: S603, S607 - the commands are our own
import json
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from installer import print_line

READY_TEXT = "smallfirst is ready"
READY_TIMEOUT_S = 1200.0
STOP_TIMEOUT_S = 60.0


class ServerProcess:
    """`make serve` in a folder, in its own session. The end of the `with` block sends SIGINT, as Ctrl-C does."""

    def __init__(self, folder: Path, port: int, env: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self.longest_silence_s = 0.0
        self._started_at = self._last_output_at = time.monotonic()
        self._output_changed = threading.Condition()
        self._process = subprocess.Popen(
            ["make", "serve", f"ARGS=--port {port}"],
            cwd=folder,
            env=dict(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        threading.Thread(target=self._read_output, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.killpg(self._process.pid, signal.SIGINT)
        self._process.wait(STOP_TIMEOUT_S)

    def wait_until_ready(self) -> float:
        """Wait for the line that reports the server as ready. Return the seconds since the start.

        Raises:
            SystemExit: the server ended, or took too long.
        """
        with self._output_changed:
            if not self._output_changed.wait_for(
                lambda: self._is_ready() or self._process.poll() is not None, READY_TIMEOUT_S
            ):
                raise SystemExit(f"not ready after {READY_TIMEOUT_S:.0f} s")
        if not self._is_ready():
            raise SystemExit(f"`make serve` ended with status {self._process.returncode}")
        return time.monotonic() - self._started_at

    def run_printed_curl(self) -> str:
        """Run the curl line that the server printed, unchanged, and return the text of the answer.

        Raises:
            SystemExit: the answer has no text.
        """
        with self._output_changed:
            self._output_changed.wait_for(lambda: any(line.lstrip().startswith("curl ") for line in self.lines), 10)
            line = next(line for line in self.lines if line.lstrip().startswith("curl "))
        answer = subprocess.run(shlex.split(line), check=True, stdout=subprocess.PIPE, text=True).stdout
        try:
            return f"the answer: {json.loads(answer)['choices'][0]['message']['content']}"
        except (ValueError, LookupError):
            raise SystemExit(f"the answer has no text: {answer}") from None

    def _is_ready(self) -> bool:
        return any(READY_TEXT in line for line in self.lines)

    def _read_output(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was opened as a pipe
        for line in self._process.stdout:
            now = time.monotonic()
            print_line(f"[{now - self._started_at:6.1f} s] {line.rstrip()}")
            with self._output_changed:
                self.longest_silence_s = max(self.longest_silence_s, now - self._last_output_at)
                self._last_output_at = now
                self.lines.append(line)
                self._output_changed.notify_all()
        with self._output_changed:
            self._process.wait()
            self._output_changed.notify_all()


def processes_in_folder(folder: Path) -> list[str]:
    """Return the command lines of the processes whose working directory is in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve().is_relative_to(folder) and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # the process has ended
            continue
    return found
