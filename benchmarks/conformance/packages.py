"""The packages that check the gateway: in an environment of their own, so that `make test` does not need them."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
from pathlib import Path

from benchmarks.common.machine import ROOT
from benchmarks.common.report import Say

LOCK = ROOT / "requirements" / "conformance.txt"
CACHE = ROOT / "benchmarks" / "results" / ".cache"


class NotInstalled(Exception):
    """The packages could not be installed, or the SDK's source could not be had."""


def environment(say: Say) -> Path:
    """Return the `bin` folder of an environment with the locked packages; it is made once for each lock.

    Raises:
        NotInstalled: pip failed.
    """
    folder = CACHE / f"conformance-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]}"
    complete = folder / "complete"
    if not complete.exists():
        say(f"installing {LOCK.name} into {folder.relative_to(ROOT)}")
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([*_pip(folder), "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(LOCK)])
        complete.touch()
    return folder / "bin"


def sdk_source(bin_folder: Path, sdist: Path | None, folder: Path) -> Path:
    """Return the unpacked source of the locked `openai`: of `sdist`, else of the file that pip downloads.

    Raises:
        NotInstalled: it could not be downloaded, or the file is not the locked one.
    """
    pinned = _pinned("openai", LOCK.read_text())
    if sdist is None:
        requirements = folder / "openai.txt"
        requirements.write_text(pinned)
        source_only = ("--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes")
        _run(
            [*_pip(bin_folder.parent), "download", "--quiet", *source_only, "-d", str(folder), "-r", str(requirements)]
        )
        [sdist] = folder.glob("openai-*.tar.gz")
    if hashlib.sha256(sdist.read_bytes()).hexdigest() not in pinned:
        raise NotInstalled(f"{sdist} is not the source package that {LOCK.name} names")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / sdist.name.removesuffix(".tar.gz")


def locked_version(package: str) -> str:
    """Return the version of a package in the lock."""
    return _pinned(package, LOCK.read_text()).partition("==")[2].split()[0]


def _pinned(package: str, lock: str) -> str:
    found = re.search(rf"^{package}==.*\n(?: {{4}}--hash=.*\n)+", lock, re.MULTILINE)
    assert found, f"{LOCK.name} lacks {package}"
    return found[0]


def _pip(folder: Path) -> list[str]:
    return [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotInstalled(f"{' '.join(command[1:4])} failed:\n{done.stderr[-2000:]}")
