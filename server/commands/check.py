"""`smallfirst check`: validate models.yaml without starting anything."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sized

from router.config.models import Config, Model, without_adapters
from router.policy.route_policies import RoutePolicies
from server.commands.base import Subparsers, add_config_option, checked_config, print_error, stale_prices
from server.commands.models import as_yaml


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser("check", help="report what is wrong with a models.yaml, without starting anything")
    add_config_option(parser)
    parser.add_argument("--verbose", action="store_true",
                        help="also print every model, with what the catalogue fills in")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check what `serve` checks before it starts, the evidence of each route included."""
    config = checked_config(arguments.config)
    RoutePolicies(config)
    for line in stale_prices(config):
        print_error(line)
    for line in loading_lines(config):
        print(line)  # noqa: T201
    if arguments.verbose:
        print("models:")  # noqa: T201
        for model in without_adapters(config.written):
            print(resolved(model), end="")  # noqa: T201
    found = f"{_count(config.models, 'model')}, {_count(config.routes, 'route')}"
    print(f"{arguments.config}: {found}: valid")  # noqa: T201
    return 0


def loading_lines(config: Config) -> Iterator[str]:
    """Yield a line for each swap group, and for each model that is unloaded when idle or has hours."""
    for name, group in config.swap.items():
        members = [model for model in group.models if model in config.models]
        yield f"swap.{name}: {min(group.keep, len(members))} of {', '.join(members)} loaded at a time, on demand"
    for model in without_adapters(config.models):
        if model.idle_minutes:
            yield f"{model.name}: loaded on demand, unloaded after {model.idle_minutes:g} minutes without a request"
        if model.hours:
            yield f"{model.name}: runs {model.hours}"


def _count(things: Sized, noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def resolved(model: Model) -> str:
    """Return a model as YAML: what models.yaml says, and what the catalogue and the engine add, without secrets."""
    left_out = {"name", "place", "api_key", "headers"}
    written = model.model_dump(mode="json", exclude_unset=True, exclude=left_out)
    written["abilities"] = sorted(model.abilities)
    return as_yaml({model.name: written})
