"""What a subcommand is, and what several of them share."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeAlias
from urllib.parse import urlsplit

from router.adapters.preflight import check_adapters
from router.config import price_list
from router.config.from_catalogue import context_warnings, licence_warnings
from router.config.models import Config, Model, without_adapters
from router.engine.gpu import gpu_present
from router.engine.preflight import check_managed
from router.engine.source import HubModel, parse
from router.load_config import load
from router.upstream.dialects import DIALECTS

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Command(Protocol):
    """A module with these two functions is a command."""

    def add_parser(self, subparsers: Subparsers) -> None:
        """Add the command's parser, its options, and `run` as the default of `run`."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command and return its exit status."""
        ...


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, with models.yaml in the current folder as its default."""
    parser.add_argument("--config", type=Path, default=Path("models.yaml"), metavar="FILE",
                        help="which models and routes to serve (default: models.yaml)")  # fmt: skip


def load_config(path: Path) -> Config:
    """Read models.yaml with this process's environment, for this machine.

    Raises:
        ConfigError: the file is wrong.
    """
    return load(path, os.environ, gpu=gpu_present())


def checked_config(path: Path) -> Config:
    """Read models.yaml and check the models that have a `source`. Print which models are left out or limited, which
    must not be used commercially, and what will probably not work.

    Raises:
        ConfigError: the file is wrong, or a model cannot be started on this machine.
    """
    config = load_config(path)
    check_managed(config)
    check_adapters(config)
    own = without_adapters(config.models)
    warnings = (*licence_warnings(own), *context_warnings(own), *url_warnings(own), *folder_warnings(own))
    for line in (*config.left_out.values(), *warnings):
        print_error(line)
    for model in config.models.values():
        if limits := DIALECTS[model.engine].limits(model):
            print_error(f"{model.name}: engine {model.engine}: {'; '.join(limits)}")
    return config


def url_warnings(models: Iterable[Model]) -> list[str]:
    """Return one line for each `base_url` without a path, at which servers of this kind have no API.

    Their health check is outside `/v1`, so such a model would count as up, and each request would fail.
    """
    return [
        f"{model.name}: base_url {url} has no path; the API of {model.engine} is usually at {url}/v1"
        for model in models
        if DIALECTS[model.engine].health_path
        for url in model.base_url
        if not urlsplit(url).path
    ]


def folder_warnings(models: Iterable[Model]) -> list[str]:
    """Return one line for each `source` that names a repository of the hub, but is also a folder here."""
    return [
        f"{model.name}: source {model.source} is read as a hub id; for the folder of that name, write ./{model.source}"
        for model in models
        if model.source and isinstance(parse(model), HubModel) and Path(model.source).is_dir()
    ]


def stale_prices(config: Config) -> list[str]:
    """Return one line for each price of models.yaml that was looked up too long ago."""
    return price_list.stale_price_warnings(without_adapters(config.written), datetime.now(UTC).date())


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows of cells as lines, with columns of equal width."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def print_error(line: str) -> None:
    """Print one line to stderr at once."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201
