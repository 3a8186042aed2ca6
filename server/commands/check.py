"""`smallfirst check`: validate models.yaml without starting anything."""

from __future__ import annotations

import argparse

from router.policy.route_policies import RoutePolicies
from server.commands.base import Subparsers, add_config_option, checked_config, print_error, stale_prices


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser("check", help="report what is wrong with a models.yaml, without starting anything")
    add_config_option(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check what `serve` checks before it starts, the evidence of each route included."""
    config = checked_config(arguments.config)
    RoutePolicies(config)
    for line in stale_prices(config):
        print_error(line)
    print(f"{arguments.config}: {len(config.models)} models, {len(config.routes)} routes: valid")  # noqa: T201
    return 0
