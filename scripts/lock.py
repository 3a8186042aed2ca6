"""Resolve requirements/*.in into locks: one version of each package for all of them, pinned with hashes.

Run it as `make lock`. The locks name no index: an installation uses the indexes of pip's configuration.
"""

from __future__ import annotations

# ruff: noqa: S603 - the commands are our own
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bootstrap import install_uv
from installer import ROOT, print_line, uv

TARGET_FLAGS = ("--python-version=3.11", "--python-platform=x86_64-manylinux_2_28")
OUTPUT_FLAGS = ("--quiet", "--no-header", "--no-annotate")
LOCK_NAMES = (
    "bootstrap", "gateway", "dev", "conformance", "llamacpp", "engine-cpu", "engine-cuda", "torch-cpu", "torch-cuda",
)  # fmt: skip
HEADER = "# Made by `make lock` from {name}.in: do not edit.\n# Download: {megabytes:.0f} MB\n"


def main() -> None:
    """Write requirements/NAME.txt for every name of LOCK_NAMES."""
    install_uv()
    with tempfile.TemporaryDirectory() as folder:
        shared_versions = Path(folder, "shared-versions.txt")
        print_line("==> one version of each package")
        shared_versions.write_text(resolve_shared_versions())
        for name in LOCK_NAMES:
            print_line(f"==> requirements/{name}.txt")
            lock = resolve(name, shared_versions)
            text = HEADER.format(name=name, megabytes=download_bytes(lock) / 1e6) + lock
            Path(ROOT, "requirements", f"{name}.txt").write_text(text)


def resolve_shared_versions() -> str:
    """Return one version of every package of every lock, because all are installed into one environment."""
    sources = [input_path(name) for name in LOCK_NAMES if name != "torch-cpu"]
    return uv_compile("--override=requirements/overrides.txt", *sources)


def resolve(name: str, shared_versions: Path) -> str:
    """Return the lock of requirements/NAME.in with hashes, at the versions that all locks share."""
    overrides = {"engine-cpu": "overrides-cpu", "gateway": "overrides-gateway"}.get(name, "overrides")
    arguments = ["--generate-hashes", f"--constraint={shared_versions}", f"--override=requirements/{overrides}.txt"]
    if name == "torch-cpu":  # the usual package index does not have it
        return uv_compile("--generate-hashes", f"--constraint={shared_versions}", input_path(name), extra_indexes=True)
    if name == "engine-cuda":
        arguments.append("--no-emit-package=torch")  # torch-cuda.txt has it
    return uv_compile(*arguments, input_path(name))


def input_path(name: str) -> str:
    """Return the relative path of NAME.in, which uv writes into the lock's comments."""
    return f"requirements/{name}.in"


def uv_compile(*arguments: str, extra_indexes: bool = False) -> str:
    """Run `uv pip compile` in the project's folder and return its output."""
    command = uv("compile", *OUTPUT_FLAGS, *TARGET_FLAGS, *arguments, extra_indexes=extra_indexes)
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=ROOT).stdout


def download_bytes(lock: str) -> int:
    """Return the total size of a lock's wheels in bytes."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(lock)
        file.flush()
        pylock = uv_compile("--no-deps", "--format=pylock.toml", file.name, extra_indexes=True)
    return sum(_package_bytes(package) for package in tomllib.loads(pylock)["packages"])


def _package_bytes(package: dict[str, Any]) -> int:
    files = package.get("wheels") or [package["sdist"]]
    url = urlsplit(files[0]["url"])
    return Path(unquote(url.path)).stat().st_size if url.scheme == "file" else int(files[0].get("size", 0))


if __name__ == "__main__":
    main()
