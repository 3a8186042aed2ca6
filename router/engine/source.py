"""Where a managed model's weights come from, and how they become a folder that vLLM can serve."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from router.config.models import Model
from router.engine.command import passed_on
from router.engine.paths import log_file
from router.engine.process import Guarded, explain
from router.errors import ConfigError, EngineError

PROGRESS_EVERY_S = 5.0


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model of the Hugging Face hub, by its id."""

    id: str


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A folder with weights, or a GGUF file, on this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A GGUF file that an installed Python package carries."""

    package: str
    file: str


Source = HubModel | LocalPath | PackageFile


def parse(model: Model) -> Source:
    """Read a managed model's `source`: `owner/model`, `./folder`, `/folder` or `package:NAME/FILE`.

    Raises:
        ConfigError: it is none of these.
    """
    source = model.source or ""
    if source.startswith("package:"):
        package, _, file = source.removeprefix("package:").partition("/")
        if package.isidentifier() and file:
            return PackageFile(package, file)
    elif source.startswith(("/", "./", "../", "~/")):
        return LocalPath(Path(source).expanduser())
    elif re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        return HubModel(source)
    raise ConfigError(
        f"{model.where}.source: expected a hub id (owner/model), a folder (./weights or an absolute path),"
        f" or a file in a Python package (package:NAME/FILE.gguf), got {source!r}"
    )


async def prepare(model: Model, state_dir: Path, progress: Callable[[str], None]) -> str:
    """Return the folder of a managed model's weights, after fetching or converting what is missing, once.

    `progress` gets a line every few seconds while that runs.

    Raises:
        EngineError: the weights cannot be had; the message says why.
    """
    match parse(model):
        case HubModel(id=hub_id):
            return await _run("fetch", model.name, f"getting {hub_id}", [hub_id], state_dir, progress)
        case LocalPath(path=path):
            return await _local(model.name, path, state_dir, progress)
        case PackageFile() as file:
            return await _local(model.name, locate(file), state_dir, progress)


def locate(source: PackageFile) -> Path:
    """Return where the package's file lies; the package itself is not imported.

    Raises:
        EngineError: the package is not installed.
    """
    try:
        spec = importlib.util.find_spec(source.package)
    except ValueError:  # a module that was not imported from anywhere
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(f"the Python package {source.package} is not installed")
    return Path(spec.submodule_search_locations[0], source.file)


def check_there(model: Model) -> None:
    """Check that a managed model's source is on this machine, where it is one that no hub has.

    Raises:
        ConfigError: it is not there, or is no weights.
    """
    try:
        match parse(model):
            case LocalPath(path=path):
                _check_weights(path)
            case PackageFile() as file:
                _check_weights(locate(file))
            case HubModel():
                pass
    except (EngineError, OSError) as error:
        raise ConfigError(f"{model.where}.source: {error}") from None


async def _local(name: str, path: Path, state_dir: Path, progress: Callable[[str], None]) -> str:
    folder, ready = await asyncio.to_thread(folder_for, path, state_dir)
    if not ready:
        doing = f"converting {path.name}, once"
        await _run("convert", name, doing, [str(path), str(folder)], state_dir, progress)
    return str(folder)


def folder_for(path: Path, state_dir: Path) -> tuple[Path, bool]:
    """Return the folder to serve, and whether it is there; if not, `path` is a GGUF file to be converted into it.

    A conversion is named by the file's content, not by its path.

    Raises:
        EngineError: `path` is neither a folder nor a GGUF file.
    """
    _check_weights(path)
    if path.is_dir():
        return path.resolve(), True
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    folder = (state_dir / "models" / f"{path.stem}-{digest[:16]}").resolve()
    return folder, folder.exists()


def _check_weights(path: Path) -> None:
    if path.is_dir():
        return
    if not path.is_file():
        raise EngineError(f"{path}: no such folder or file")
    if path.suffix != ".gguf":
        raise EngineError(f"{path}: expected a folder of weights or a .gguf file")


async def _run(
    program: str,
    name: str,
    doing: str,
    arguments: list[str],
    state_dir: Path,
    progress: Callable[[str], None],
) -> str:
    """Run a program of this package; return the last line it prints. Its other output goes to a log file."""
    log = log_file(state_dir, name, program)
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    last = ""

    async def report() -> None:
        while True:
            await asyncio.sleep(PROGRESS_EVERY_S)
            progress(f"{name}: {doing}, {time.monotonic() - began:.0f} s{last and f' ({last})'}")

    with log.open("wb") as errors:
        command = (sys.executable, "-m", f"router.engine.{program}", *arguments)
        env = passed_on(os.environ, hub=program == "fetch")
        process = await Guarded.start(command, env, stdout=subprocess.PIPE, stderr=errors)
    progress(f"{name}: {doing}")
    reporter = asyncio.create_task(report())
    try:
        async for line in process.output():
            last = line.decode(errors="replace").strip()
        status = await process.exited()
    finally:
        reporter.cancel()
        await process.stop()
    if status != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise EngineError(f"{doing}: {lines[-1] if lines else explain(status or 0)} (more in {log})")
    return last
