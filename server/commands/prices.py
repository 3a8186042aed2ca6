"""`smallfirst prices`: print what tokens and hours cost, when that was looked up, and where an hour breaks even."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from router.config.models import Config, without_adapters
from router.config.price_list import bundled
from router.money.cost import MTOK
from router.money.price import Price, Rate
from router.types import NANO
from server.commands.base import Subparsers, align, load_config

Row = Sequence[str]
HEADER: Row = ("USD a million tokens", "input", "cached", "output", "as of", "source")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser("prices", help="print the bundled prices, with the date and the source of each")
    parser.add_argument("--config", type=Path, metavar="FILE",
                        help="print the prices of this models.yaml instead, and where an hour breaks even "
                             "(default: the bundled prices)")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the prices."""
    print(price_table(load_config(arguments.config) if arguments.config else None))  # noqa: T201
    return 0


def price_table(config: Config | None) -> str:
    """Return a table of the bundled prices, or of those of models.yaml and where an hour breaks even."""
    if config is None:
        return "\n".join(align([HEADER, *_rows(bundled())]))
    prices = {model.name: model.price for model in without_adapters(config.written)}
    return "\n".join([*align([HEADER, *_rows(prices)]), *_break_even(config)])


def _rows(prices: Mapping[str, Price | None]) -> Iterator[Row]:
    for name, price in prices.items():
        if price is None:
            yield name, "no price", "", "", "", ""
            continue
        provenance = str(price.as_of or "no date"), price.source or ""
        if price.nano_per_hour is not None:
            yield name, f"{price.nano_per_hour / NANO:g} an hour", "", "", *provenance
        yield from _rates(name, price.rates, *provenance)
        for tier, rates in price.service_rates.items():
            yield from _rates(f"  service tier {tier}", rates, "", "")


def _rates(name: str, rates: Iterable[Rate], as_of: str, source: str) -> Iterator[Row]:
    for rate in rates:
        usd = [f"{nano / NANO:g}" for nano in (rate.input, rate.cached, rate.output)]
        if rate.above < 0:
            yield name, *usd, as_of, source
        else:
            yield f"  all of prompts above {rate.above:,} tokens", *usd, "", ""


def _break_even(config: Config) -> Iterator[str]:
    pairs = {(model.name, route.fallback.name) for route in config.routes.values() for model in route.ladder}
    for name, fallback in sorted(pairs):
        by_hour, by_tokens = config.written[name].price, config.written[fallback].price
        if by_hour and by_hour.nano_per_hour and by_tokens and by_tokens.rates:
            rate = by_tokens.rates[0]
            fresh, output = (
                f"{by_hour.nano_per_hour * MTOK / nano:,.0f}" if nano else "no" for nano in (rate.input, rate.output)
            )
            yield f"An hour of {name} costs what {fresh} input or {output} output tokens of {fallback} cost."
