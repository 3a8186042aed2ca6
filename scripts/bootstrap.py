"""Make `.venv` and install the locks into it. Only changed locks are installed, so a second run needs no network.

    python3 scripts/bootstrap.py [--dev] [--engines]

It uses only the standard library. The Makefile runs it after checking that the Python is new enough.
An interrupted step can leave anything behind, so `.venv` counts as complete only between steps. If it is not complete
at the start, it is made again, mostly from the caches of pip and uv.
"""

from __future__ import annotations

# ruff: noqa: S603 - the commands are our own
import fcntl
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from installer import REQUIREMENTS, ROOT, VENV, print_line, run_step, uv

STAMPS = VENV / "installed"
ENVIRONMENT_STAMP = "Python {}.{} in {}".format(*sys.version_info[:2], VENV)
"""The content of the stamp `environment` of a complete `.venv`. While a step runs there is no such stamp."""
QUIET_FLAGS = () if sys.stdout.isatty() else ("--quiet",)
"""Without a terminal no progress bar is visible, so the list of 170 packages is left out as well."""


def main() -> None:
    """Install what this machine needs for `make serve`; with --dev, for `make test`; --engines: `make test-engines`.

    Raises:
        SystemExit: a package of the system is missing, or a step failed.
    """
    check_venv()
    lock_checkout()
    install_uv()
    install("gateway")
    engine, other = ("engine-cuda", "engine-cpu") if has_gpu() else ("engine-cpu", "engine-cuda")
    if read_stamp(other):  # the two builds of vLLM and of PyTorch use the same folders
        print_line(f"==> .venv has {other}, but this machine now needs {engine}: making .venv again")
        mark_environment_incomplete()
        install_uv()
        install("gateway")
    install(engine)
    install(torch_build(engine))
    if "--dev" in sys.argv[1:]:
        install("dev")
    if "--engines" in sys.argv[1:]:
        install("llamacpp")
    install_project()


def check_venv() -> None:
    """Stop if this Python cannot make virtual environments, and name the Debian package that is missing."""
    if not importlib.util.find_spec("ensurepip") or not importlib.util.find_spec("venv"):
        package = "python{}.{}-venv".format(*sys.version_info[:2])
        raise SystemExit(
            f"{sys.executable} has no `ensurepip`, which it needs to make virtual environments.\n"
            f"Debian and Ubuntu: apt install {package}. Or: make PYTHON=/path/to/another/python3"
        )


def lock_checkout() -> None:
    """Wait for another installation in this checkout, then lock it until this process and its steps have ended."""
    lock = os.open(__file__, os.O_RDWR)
    os.set_inheritable(lock, True)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print_line("==> waiting for another installation into .venv to end")
        fcntl.flock(lock, fcntl.LOCK_EX)


def install_uv() -> None:
    """Make `.venv`, unless it is complete and of this Python, and install uv into it."""
    if not (VENV / "bin/python").exists():
        mark_environment_incomplete()
    new = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    run_once("environment", ENVIRONMENT_STAMP, f"new environment .venv (Python {sys.version.split()[0]})", lambda: new)
    lock = REQUIREMENTS / "bootstrap.txt"
    pip = [str(VENV / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", *QUIET_FLAGS]
    run_once(
        "bootstrap",
        content_hash(lock),
        "installing uv",
        lambda: [*pip, "--no-deps", "--require-hashes", "-r", str(lock)],
    )


def has_gpu() -> bool:
    """Return whether this machine has an NVIDIA GPU, by the rule of the engine's own code."""
    question = "from router.engine import gpu; print(gpu.gpu_present())"
    python = str(VENV / "bin/python")
    answer = subprocess.run([python, "-c", question], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return answer.stdout.strip() == "True"


def torch_build(engine: str) -> str:
    """Return the lock of the PyTorch build to use: without a GPU the small build, if an index has it."""
    if engine == "engine-cuda":
        return "torch-cuda"
    for name in ("torch-cpu", "torch-cuda"):
        if content_hash(REQUIREMENTS / f"{name}.txt") == read_stamp(name):
            return name
    lock = REQUIREMENTS / "torch-cpu.txt"
    probe = uv("install", "--dry-run", "--quiet", "--no-deps", "--require-hashes", "-r", lock)
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return "torch-cpu"
    print_line(
        "!!! None of the package indexes in pip's configuration has PyTorch's CPU build.\n"
        "!!! The usual build works too, but it contains CUDA:"
        f" {download_size('torch-cuda')} to download instead of {download_size('torch-cpu')}.\n"
        "!!! To avoid that, press Ctrl-C, set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU builds\n"
        "!!! (see pytorch.org, Get Started), and start again."
    )
    return "torch-cuda"


def install(name: str) -> None:
    """Install requirements/NAME.txt, unless it is installed already."""
    lock = REQUIREMENTS / f"{name}.txt"
    title = f"installing {name} (at most {download_size(name)} to download)"
    run_once(
        name,
        content_hash(lock),
        title,
        lambda: uv("install", *QUIET_FLAGS, "--no-deps", "--require-hashes", "-r", lock),
    )


def install_project() -> None:
    """Install this checkout itself, editable: `.venv/bin/smallfirst` runs the files of the checkout."""
    flags = (*QUIET_FLAGS, "--no-deps", "--no-build-isolation", "--editable")
    expected_stamp = content_hash(ROOT / "pyproject.toml")
    run_once("project", expected_stamp, "installing smallfirst", lambda: uv("install", *flags, "."))


def run_once(name: str, expected_stamp: str, title: str, command: Callable[[], list[str]]) -> None:
    """Run the command unless its stamp is up to date. Until the command has ended, `.venv` is not complete."""
    if read_stamp(name) != expected_stamp:
        arguments = command()
        mark_environment_incomplete()
        run_step(title, arguments)
        STAMPS.mkdir(exist_ok=True)
        (STAMPS / name).write_text(expected_stamp)
        (STAMPS / "environment").write_text(ENVIRONMENT_STAMP)


def mark_environment_incomplete() -> None:
    """Have `.venv` made again at the next start, unless a step completes before that."""
    (STAMPS / "environment").unlink(missing_ok=True)


def content_hash(source: Path) -> str:
    """Return a hash of a file's content."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def read_stamp(name: str) -> str:
    """Return the stamp of the last installation under that name, or an empty text."""
    file = STAMPS / name
    return file.read_text() if file.exists() else ""


def download_size(name: str) -> str:
    """Return the size in a lock's header, such as "310 MB"."""
    found = re.search(r"^# Download: (.*)$", (REQUIREMENTS / f"{name}.txt").read_text(), re.MULTILINE)
    return found.group(1) if found else "an unknown size"


if __name__ == "__main__":
    main()
