"""Run uv with the package indexes of pip's configuration, because uv does not read it."""

from __future__ import annotations

# ruff: noqa: S603 - the commands are our own
import ast
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements"

INDEX_FLAGS = {"index-url": "--default-index", "trusted-host": "--allow-insecure-host"}
EXTRA_INDEX_FLAGS = {"extra-index-url": "--index", "find-links": "--find-links"}


def pip_settings() -> dict[str, str]:
    """Return pip's settings by name. The environment wins over `[install]`, and that wins over `[global]`."""
    listing = subprocess.run(
        [VENV / "bin/python", "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        scope, _, name = key.rpartition(".")
        if scope in found:
            found[scope][name] = ast.literal_eval(value)
    return found["global"] | found["install"] | found[":env:"]


def index_arguments(settings: Mapping[str, str], *, extra_indexes: bool) -> list[str]:
    """Return uv's arguments for the same index and, with `extra_indexes`, for the additional ones."""
    flags = INDEX_FLAGS | EXTRA_INDEX_FLAGS if extra_indexes else INDEX_FLAGS
    # pip takes the best match of all indexes; by default uv takes the first index that has the package
    arguments = ["--index-strategy", "unsafe-best-match"]
    for name, flag in flags.items():
        for location in settings.get(name, "").split():
            arguments += [flag, location]
    return arguments


def uv(*arguments: str | Path, extra_indexes: bool = True) -> list[str]:
    """Return the command line of `uv pip ...` in the project's environment."""
    settings = pip_settings()
    if "cert" in settings:
        os.environ.setdefault("SSL_CERT_FILE", settings["cert"])
    os.environ["VIRTUAL_ENV"] = str(VENV)
    return [str(VENV / "bin/uv"), "pip", *map(str, arguments), *index_arguments(settings, extra_indexes=extra_indexes)]


def print_line(line: str) -> None:
    """Print one line and flush it, also into a pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run_step(title: str, command: Sequence[str]) -> None:
    """Run a command. Print its title, the time it has run every ten seconds, and the time it took.

    Raises:
        SystemExit: the command failed. Its output is above.
    """
    print_line(f"==> {title}")
    began = time.monotonic()
    with subprocess.Popen(
        command, cwd=ROOT, close_fds=False
    ) as process:  # the command inherits the lock on the checkout
        while True:
            try:
                status = process.wait(timeout=10)
                break
            except subprocess.TimeoutExpired:
                if not sys.stdout.isatty():  # on a terminal the command draws its own progress
                    print_line(f"    {title}: {time.monotonic() - began:.0f} s")
    if status:
        raise SystemExit(f"{title}: failed with status {status}")
    print_line(f"    done in {time.monotonic() - began:.0f} s")
