"""The bundled price list, `prices.yaml`, and warnings about old prices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from functools import cache
from pathlib import Path

from router.config.models import Model
from router.money.price import Price
from router.yaml.document import YamlDocument

MAX_AGE = timedelta(days=183)


@cache
def bundled() -> Mapping[str, Price]:
    """Return every bundled price by the provider's name of the model."""
    providers = YamlDocument(Path(__file__).with_name("prices.yaml")).data.values()
    return {
        name: Price(**prices, as_of=provider["as_of"], source=provider["source"])
        for provider in providers
        for name, prices in provider["models"].items()
    }


def resolve(price: object) -> object:
    """Return a price of models.yaml. If it is `{bundled: NAME}`, return the bundled price of that name.

    Raises:
        ValueError: there is no such name (the message suggests similar ones), or the mapping has other keys.
    """
    if not isinstance(price, dict) or "bundled" not in price:
        return price
    if len(price) > 1:
        raise ValueError("`bundled` replaces the whole price: expected no other key")
    name = price["bundled"]
    if not isinstance(name, str):
        raise ValueError("bundled: expected a model's name, as `smallfirst prices` lists them")
    if found := bundled().get(name):
        return found
    similar = " or ".join(map(repr, difflib.get_close_matches(name, bundled())))
    suggestion = f"; did you mean {similar}?" if similar else ""
    raise ValueError(f"bundled: no price for {name!r}{suggestion} (`smallfirst prices` lists them all)")


def stale_price_warnings(models: Iterable[Model], today: date) -> list[str]:
    """Return one line for each model whose price was looked up more than half a year ago."""
    return [
        f"{model.where}.price: looked up on {model.price.as_of}, more than half a year ago: does it still hold?"
        for model in models
        if model.price and model.price.as_of and today - model.price.as_of > MAX_AGE
    ]
