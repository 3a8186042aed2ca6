"""Make `.venv` and install the locks into it: only those that changed, so that a second run needs no network.

    python3 scripts/bootstrap.py [--dev]

Standard library only, and it must parse on an old Python: it is what tells the user that theirs is too old.
"""

from __future__ import annotations

# ruff: noqa: S603 - the commands are our own
import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from installer import REQUIREMENTS, ROOT, VENV, say, step, uv

STAMPS = VENV / "installed"


def main() -> None:
    """Install what this machine needs for `make serve` or, with --dev, for `make test`.

    Raises:
        SystemExit: something that only the user can provide is missing, or a step failed.
    """
    check_python()
    install_uv()
    install("gateway")
    gpu = gpu_present()
    locks = ["engine-cuda" if gpu else "engine-cpu", torch_build(gpu)]
    if "--dev" in sys.argv[1:]:
        locks.append("dev")
    for name in locks:
        install(name)
    install_project()


def check_python() -> None:
    """Stop with the Debian package's name where Python is too old or cannot make an environment."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this is the check
        raise SystemExit(
            f"smallfirst needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}.\n"
            "Debian 12 and newer: apt install python3 python3-venv. Or: make PYTHON=/path/to/python3.11"
        )
    if not importlib.util.find_spec("ensurepip") or not importlib.util.find_spec("venv"):
        raise SystemExit("Python cannot make virtual environments here. Debian: apt install python3-venv")


def install_uv() -> None:
    """Make `.venv` where there is none that works with this Python, and put uv into it."""
    version = "python{}.{}".format(*sys.version_info)
    if not (VENV / "bin" / version).exists() or not (VENV / "bin/pip").exists():
        shutil.rmtree(VENV, ignore_errors=True)
        step(
            f"new environment .venv (Python {sys.version.split()[0]})",
            [sys.executable, "-m", "venv", str(VENV)],
        )
    lock = REQUIREMENTS / "bootstrap.txt"
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-deps"]
    once("bootstrap", lock, "installing uv", lambda: [*pip, "--require-hashes", "-r", str(lock)])


def gpu_present() -> bool:
    """Return whether this machine has an NVIDIA GPU, by the engine's own rule."""
    question = "from router.engine import gpu; print(gpu.gpu_present())"
    python = str(VENV / "bin/python")
    answer = subprocess.run([python, "-c", question], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return answer.stdout.strip() == "True"


def torch_build(gpu: bool) -> str:
    """Return the lock of the PyTorch build to use: without a GPU the small one, where it can be had."""
    if gpu:
        return "torch-cuda"
    for name in ("torch-cpu", "torch-cuda"):
        if stamp_of(REQUIREMENTS / f"{name}.txt") == read_stamp(name):
            return name
    lock = REQUIREMENTS / "torch-cpu.txt"
    probe = uv("install", "--dry-run", "--quiet", "--no-deps", "--require-hashes", "-r", lock)
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return "torch-cpu"
    say(
        "!!! None of the package indexes that pip is configured with holds PyTorch's CPU build.\n"
        "!!! The package index's own build works too, but comes with CUDA:"
        f" {download('torch-cuda')} to download instead of {download('torch-cpu')}.\n"
        "!!! To avoid that, stop here (Ctrl-C), set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds\n"
        "!!! (pytorch.org, Get Started, shows it), and start again."
    )
    return "torch-cuda"


def install(name: str) -> None:
    """Install requirements/NAME.txt, unless it has been."""
    lock = REQUIREMENTS / f"{name}.txt"
    title = f"installing {name} (at most {download(name)} to download)"
    once(name, lock, title, lambda: uv("install", "--no-deps", "--require-hashes", "-r", lock))


def install_project() -> None:
    """Install this checkout itself, editable: `.venv/bin/smallfirst` runs the files as they are here."""
    flags = ("--no-deps", "--no-build-isolation", "--editable")
    once("project", ROOT / "pyproject.toml", "installing smallfirst", lambda: uv("install", *flags, "."))


def once(name: str, source: Path, title: str, command: Callable[[], list[str]]) -> None:
    """Run the command unless it has been run, to its end, for these very bytes of `source`."""
    wanted = stamp_of(source)
    if wanted != read_stamp(name):
        step(title, command())
        STAMPS.mkdir(exist_ok=True)
        (STAMPS / name).write_text(wanted)


def stamp_of(source: Path) -> str:
    """Return what tells one content of a file from another."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def read_stamp(name: str) -> str:
    """Return the stamp of what was installed last under that name, or nothing."""
    file = STAMPS / name
    return file.read_text() if file.exists() else ""


def download(name: str) -> str:
    """Return the size that a lock's header states, such as "310 MB"."""
    found = re.search(r"^# Download: (.*)$", (REQUIREMENTS / f"{name}.txt").read_text(), re.MULTILINE)
    return found.group(1) if found else "an unknown size"


if __name__ == "__main__":
    main()
