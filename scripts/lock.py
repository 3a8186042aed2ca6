"""Resolve requirements/*.in again: one version of each package for all of them, pinned with hashes.

Run it as `make lock`. The locks name no index: who installs them uses the index that pip is configured with.
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
from installer import ROOT, say, uv

RESOLVED_FOR = ("--python-version=3.11", "--python-platform=x86_64-manylinux_2_28")
OUTPUT = ("--quiet", "--no-header", "--no-annotate")
LOCKS = ("bootstrap", "gateway", "dev", "engine-cpu", "engine-cuda", "torch-cpu", "torch-cuda")
HEADER = "# Made by `make lock` from {name}.in: do not edit.\n# Download: {megabytes:.0f} MB\n"


def main() -> None:
    """Write requirements/NAME.txt for every NAME.in that is installed by itself."""
    install_uv()
    with tempfile.TemporaryDirectory() as folder:
        together = Path(folder, "together.txt")
        say("==> one version of each package")
        together.write_text(resolve_together())
        for name in LOCKS:
            say(f"==> requirements/{name}.txt")
            lock = resolve(name, together)
            text = HEADER.format(name=name, megabytes=download_size(lock) / 1e6) + lock
            Path(ROOT, "requirements", f"{name}.txt").write_text(text)


def resolve_together() -> str:
    """Return one version of every package of every lock: they share one environment."""
    sources = [source(name) for name in LOCKS if name != "torch-cpu"]
    return compile_("--override=requirements/overrides.txt", *sources)


def resolve(name: str, together: Path) -> str:
    """Return the lock of requirements/NAME.in, with its hashes, at the versions that all locks share."""
    overrides = {"engine-cpu": "overrides-cpu", "gateway": "overrides-gateway"}.get(name, "overrides")
    arguments = ["--generate-hashes", f"--constraint={together}", f"--override=requirements/{overrides}.txt"]
    if name == "torch-cpu":  # the one that no package index holds
        return compile_("--generate-hashes", f"--constraint={together}", source(name), more_indexes=True)
    if name == "engine-cuda":
        arguments.append("--no-emit-package=torch")  # in torch-cuda.txt
    return compile_(*arguments, source(name))


def source(name: str) -> str:
    """Return the path of NAME.in, relative, as it is to stand in the lock's comments."""
    return f"requirements/{name}.in"


def compile_(*arguments: str, more_indexes: bool = False) -> str:
    """Return what `uv pip compile` prints, run in the project's folder."""
    command = uv("compile", *OUTPUT, *RESOLVED_FOR, *arguments, more_indexes=more_indexes)
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, cwd=ROOT).stdout


def download_size(lock: str) -> int:
    """Return how many bytes the wheels of a lock are."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(lock)
        file.flush()
        pylock = compile_("--no-deps", "--format=pylock.toml", file.name, more_indexes=True)
    return sum(_size(package) for package in tomllib.loads(pylock)["packages"])


def _size(package: dict[str, Any]) -> int:
    files = package.get("wheels") or [package["sdist"]]
    url = urlsplit(files[0]["url"])
    return Path(unquote(url.path)).stat().st_size if url.scheme == "file" else int(files[0].get("size", 0))


if __name__ == "__main__":
    main()
