"""`smallfirst calibrate`: learn from labelled calls."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from router.errors import ConfigError
from server.commands.base import Subparsers, add_config_option, load_config, print_error

if TYPE_CHECKING:
    from router.config.models import Config, Route
    from router.learning.labelled import CalibrationTerms
    from router.types import ChatCall, Endpoint


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser(
        "calibrate", help="learn from labelled calls which answers of the small models a route may accept"
    )
    add_config_option(parser)
    add = parser.add_argument
    add("--data", type=Path, action="append", required=True, metavar="FILE",
        help="labelled calls, in the format of docs/routing.md; may be given several times")  # fmt: skip
    add("--route", metavar="NAME", help="the route of these calls (default: the first route)")
    add("--out", type=Path, default=Path("evidence.json"), metavar="FILE",
        help="the file to write, which the route's `evidence` then names (default: evidence.json)")  # fmt: skip
    add("--beginning", type=_positive_tokens, default=0, metavar="TOKENS",
        help="learn also how much the first TOKENS tokens of an answer predict, for `hold: first` "
             "(default: only whole answers)")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Write the evidence and print how good it is."""
    from router.learning import calibrate  # noqa: PLC0415 - as in `serve`

    terms = _terms(_route(load_config(arguments.config), arguments.route), arguments.beginning)
    print(calibrate.run(terms, arguments.data, arguments.out, _decode, print_error))  # noqa: T201
    return 0


def _route(config: Config, name: str | None) -> Route:
    """Return the route with this name, or the first route if no name is given."""
    known = ", ".join(config.routes) or "none"
    found = next(iter(config.routes.values()), None) if name is None else config.routes.get(name)
    if found is None:
        raise ConfigError(f"--route: expected a route of models.yaml ({known}), got {name!r}")
    return found


def _terms(route: Route, beginning_tokens: int) -> CalibrationTerms:
    from router.learning.labelled import CalibrationTerms  # noqa: PLC0415 - as in `serve`
    from router.policy.cascade import CascadeOptions  # noqa: PLC0415 - as in `serve`

    small = [model.name for model in route.ladder if model is not route.fallback]
    if not small:
        raise ConfigError(f"--route: routes.{route.name} has no small model here beside {route.fallback.name!r}")
    samples = CascadeOptions.of(route).samples or 0
    return CalibrationTerms(route.name, small, route.fallback.name, samples, beginning_tokens)


def _decode(endpoint: Endpoint, body: bytes) -> ChatCall:
    """Decode a request as the server does."""
    from server.endpoints.decode import decode  # noqa: PLC0415 - as in `serve`
    from server.endpoints.registry import ENDPOINTS  # noqa: PLC0415 - as in `serve`

    return decode(ENDPOINTS[f"/v1/{endpoint.path}"], body)


def _positive_tokens(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a number of tokens from 1, got {text!r}")
    return int(text)
