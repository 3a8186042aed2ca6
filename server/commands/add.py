"""`smallfirst add`: write a model of the catalogue into models.yaml, and keep everything else there as it is."""

from __future__ import annotations

import argparse
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from router.catalogue.bundled import find
from router.catalogue.entry import CatalogueEntry
from router.config.from_catalogue import entry_of, licence_warnings
from router.config.models import Config
from router.engine.preflight import check_managed
from router.errors import ConfigError
from router.policy.route_policies import RoutePolicies
from router.upstream.dialects import DIALECTS
from router.yaml.document import YamlDocument
from router.yaml.edit import CannotEdit, add_entry, add_item
from server.commands.base import Subparsers, add_config_option, load_config, print_error
from server.commands.models import in_words

WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser("add", help="write a model of the catalogue into a models.yaml")
    parser.add_argument("name", metavar="NAME", help="a name that `smallfirst models` lists")
    add_config_option(parser)
    parser.add_argument("--as", dest="alias", metavar="NAME",
                        help="the name that clients use (default: the catalogue's)")  # fmt: skip
    parser.add_argument("--gpu-memory-utilization", dest="share", type=float, metavar="SHARE",
                        help="the share of the GPU's memory, if other models use the same GPU (default: vLLM's, "
                             "0.92)")  # fmt: skip
    parser.add_argument(
        "--trust-remote-code",
        dest="trust",
        action="store_true",
        help="let the Python code that comes with the weights run, for a model that needs it",
    )
    parser.add_argument("--route", metavar="NAME",
                        help="also add it to the ladder of this route: before the first larger model, as far as the "
                             "sizes are known, and before every large one (default: to none)")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Add the model, unless the result would not pass `smallfirst check`."""
    try:
        entry = find(arguments.name)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if entry.own_code != arguments.trust:
        raise ConfigError(_wrong_trust(entry))
    path: Path = arguments.config
    name: str = arguments.alias or entry.name
    before = load_config(path)  # a file that is wrong already is reported as it is
    file = YamlDocument(path)
    if name in before.written:
        where = file.where(("models", name))
        raise ConfigError(f"{where}: models.{name}: the name is taken; choose another one with --as")
    if arguments.route is not None and arguments.route not in file.data.get("routes", {}):
        known = ", ".join(file.data.get("routes", {})) or "none"
        raise ConfigError(f"--route: expected a route of {path} ({known}), got {arguments.route!r}")
    with path.open(encoding="utf-8", newline="") as content:
        text = content.read()
    try:
        edited = _edited(text, name, entry, arguments, before)
    except CannotEdit as error:
        lines = "".join(f"\n  {line}" for line in _body(entry, arguments))
        ladder = f", and {name} to routes.{arguments.route}.ladder" if arguments.route is not None else ""
        raise ConfigError(f"{path}: {error}; add this to its `models` yourself{ladder}:\n{name}:{lines}") from None
    after = _replace(path, edited, _check)
    for line in licence_warnings([after.written[name]]):
        print_error(line)
    print(f"{path}: added {name}, {_summary(entry)}")  # noqa: T201
    if arguments.route is not None:
        ladder = yaml.safe_load(edited)["routes"][arguments.route]["ladder"]
        print(f"{path}: routes.{arguments.route}.ladder is now {ladder}")  # noqa: T201
    return 0


def position(ladder: list[Any], entry: CatalogueEntry, config: Config) -> int:
    """Return the index for a small model in a ladder, which has the cheapest models first.

    It is that of the first rung with a large model, or with a model that the catalogue knows to have more parameters.
    """
    for index, rung in enumerate(ladder):
        for name in rung if isinstance(rung, list) else [rung]:
            model = config.written[name]
            known = entry_of(model)
            if model.tier == "llm" or (known is not None and known.parameters > entry.parameters):
                return index
    return len(ladder)


def _edited(text: str, name: str, entry: CatalogueEntry, arguments: argparse.Namespace, config: Config) -> str:
    """Return the text with the model.

    Raises:
        CannotEdit: the text has a form that cannot be changed safely.
    """
    data, route = yaml.safe_load(text), arguments.route
    body = _body(entry, arguments)
    edited = add_entry(text, "models", name, body)
    expected = data | {"models": data["models"] | {name: yaml.safe_load("\n".join(body))}}
    if route is not None:  # only this list may change, even where another route is an alias of it
        ladder = data["routes"][route]["ladder"]
        index = position(ladder, entry, config)
        edited = add_item(edited, ("routes", route, "ladder"), index, name)
        longer = data["routes"][route] | {"ladder": [*ladder[:index], name, *ladder[index:]]}
        expected |= {"routes": data["routes"] | {route: longer}}
    try:
        unharmed = yaml.safe_load(edited) == expected
    except yaml.YAMLError:
        unharmed = False
    if not unharmed:
        raise CannotEdit("adding lines would change other parts of it")
    return edited


def _body(entry: CatalogueEntry, arguments: argparse.Namespace) -> list[str]:
    args = [] if arguments.share is None else [f"gpu_memory_utilization: {arguments.share}"]
    if arguments.trust:
        args.append("trust_remote_code: true")
    return [
        f"source: catalogue:{entry.name}   # {_summary(entry)}",
        *([f"{DIALECTS[entry.engine].arguments_key}: {{{', '.join(args)}}}"] if args else []),
        "# price: {replica_hour_usd: 0.60}   # what an hour of its GPU costs you",
    ]


def _wrong_trust(entry: CatalogueEntry) -> str:
    if not entry.own_code:
        return f"--trust-remote-code: {entry.name} has no code of its own"
    return (
        f"{entry.name} needs the Python code of {entry.sources[0]}, which would run as the user who runs the gateway."
        " Read it, and if you trust it, write --trust-remote-code"
    )


def _summary(entry: CatalogueEntry) -> str:
    return f"{entry.hub_id}, {in_words(entry.parameters)} parameters, commercial use: {entry.licence.words}"


def _check(path: Path) -> Config:
    """Read a file as `smallfirst check` does, but quietly."""
    config = load_config(path)
    check_managed(config)
    RoutePolicies(config)
    return config


def _replace(path: Path, text: str, check: Callable[[Path], Config]) -> Config:
    """Replace a file in one step by one that passes the check. Return what the check returns."""
    target = path.resolve()  # a link stays a link
    if not (
        target.stat().st_mode & WRITABLE and os.access(target, os.W_OK)
    ):  # a new file could replace it all the same
        raise ConfigError(f"{path}: cannot be written: the file is read-only")
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as content:
            content.write(text)
        try:
            checked = check(Path(name))
            shutil.copymode(target, name)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink()
            raise
    except ConfigError as error:
        reason = str(error).replace(name, str(path))
        raise ConfigError(f"{reason}\nNothing was written: with the new model, {path} would not be valid.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    return checked
