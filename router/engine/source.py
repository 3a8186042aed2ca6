"""Turns a managed model's `source` into a folder of weights that an engine can serve."""

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
from router.engine.command import filter_env
from router.engine.paths import log_file
from router.engine.process import Guarded, explain
from router.errors import ConfigError, EngineError

PROGRESS_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the Hugging Face hub."""

    id: str


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A folder of weights or a GGUF file on this machine."""

    path: Path


@dataclass(frozen=True, slots=True)
class PackageFile:
    """A GGUF file in an installed Python package."""

    package: str
    file: str


Source = HubModel | LocalPath | PackageFile


def parse(model: Model) -> Source:
    """Parse a managed model's `source`: `owner/model`, `./folder`, `/folder` or `package:NAME/FILE`.

    Raises:
        ConfigError: the source has none of these forms.
    """
    return parse_source(model.source or "", f"{model.where}.source")


def parse_source(source: str, where: str) -> Source:
    """Parse the text of a source. `where` names file, line and key.

    Raises:
        ConfigError: the source has none of the forms.
    """
    if source.startswith("package:"):
        package, _, file = source.removeprefix("package:").partition("/")
        if package.isidentifier() and file:
            return PackageFile(package, file)
    elif source.startswith(("/", "./", "../", "~/")):
        try:
            return LocalPath(Path(source).expanduser())
        except RuntimeError:
            raise ConfigError(
                f"{where}: this user has no home folder; write an absolute path, got {source!r}"
            ) from None
    elif re.fullmatch(r"[\w.-]+(/[\w.-]+)?", source):
        return HubModel(source)
    raise ConfigError(
        f"{where}: expected a hub id (owner/model), a folder (./weights or an absolute path),"
        f" or a file in a Python package (package:NAME/FILE.gguf), got {source!r}"
    )


async def prepare(model: Model, state_dir: Path, progress: Callable[[str], None]) -> str:
    """Return the folder of a managed model's weights. Download or convert them first if they are missing.

    `progress` is called with a line of text every few seconds meanwhile.

    Raises:
        EngineError: the weights are not available. The message says why.
    """
    match parse(model):
        case HubModel(id=hub_id):
            return await fetch(model.name, hub_id, state_dir, progress)
        case LocalPath(path=path):
            return await _prepare_local(model.name, path, state_dir, progress)
        case PackageFile() as file:
            return await _prepare_local(model.name, locate(file), state_dir, progress)


async def fetch(name: str, hub_id: str, state_dir: Path, progress: Callable[[str], None]) -> str:
    """Return the folder of a repository of the hub. Download it first if it is missing. `name` is for people.

    Raises:
        EngineError: it is not available. The message says why.
    """
    return await _run_program("fetch", name, f"downloading {hub_id}", [hub_id], state_dir, progress)


def locate(source: PackageFile) -> Path:
    """Return the path of the package's file, without importing the package.

    Raises:
        EngineError: the package is not installed.
    """
    try:
        spec = importlib.util.find_spec(source.package)
    except ValueError:  # a module without a spec, such as __main__
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise EngineError(f"the Python package {source.package} is not installed")
    return Path(spec.submodule_search_locations[0], source.file)


def check_source_exists(model: Model) -> None:
    """Check that a managed model's source exists on this machine, unless it is on the hub.

    Raises:
        ConfigError: the source does not exist, or is not a model.
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


async def _prepare_local(name: str, path: Path, state_dir: Path, progress: Callable[[str], None]) -> str:
    folder, ready = await asyncio.to_thread(weights_folder, path, state_dir)
    if not ready:
        activity = f"converting {path.name} (first start only)"
        await _run_program("convert", name, activity, [str(path), str(folder)], state_dir, progress)
    return str(folder)


def weights_folder(path: Path, state_dir: Path) -> tuple[Path, bool]:
    """Return the folder to serve and whether it exists. If not, the GGUF file `path` must be converted into it.

    The name of a conversion depends on the content of the file, not on its path.

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


async def _run_program(
    program: str,
    name: str,
    activity: str,
    arguments: list[str],
    state_dir: Path,
    progress: Callable[[str], None],
) -> str:
    """Run a program of this package and return the last line it prints. Its stderr goes to a log file."""
    log = log_file(state_dir, name, program)
    log.parent.mkdir(parents=True, exist_ok=True)
    started_at = time.monotonic()
    last_line = ""

    async def report_progress() -> None:
        while True:
            await asyncio.sleep(PROGRESS_INTERVAL_S)
            progress(f"{name}: {activity}, {time.monotonic() - started_at:.0f} s{last_line and f' ({last_line})'}")

    with log.open("wb") as errors:
        command = (sys.executable, "-m", f"router.engine.{program}", *arguments)
        env = filter_env(os.environ, hub=program == "fetch")
        process = await Guarded.start(command, env, stdout=subprocess.PIPE, stderr=errors)
    progress(f"{name}: {activity}")
    reporter = asyncio.create_task(report_progress())
    try:
        async for line in process.output():
            last_line = line.decode(errors="replace").strip()
        status = await process.exited()
    finally:
        reporter.cancel()
        await process.stop()
    if status != 0:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise EngineError(f"{activity}: {lines[-1] if lines else explain(status or 0)} (more in {log})")
    return last_line
