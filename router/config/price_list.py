"""The bundled price list, `prices.yaml`, and what age does to prices."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from functools import cache
from pathlib import Path

from router.config.models import Model
from router.money.price import Price
from router.yaml.document import YamlDocument

GOOD_FOR = timedelta(days=183)


@cache
def bundled() -> Mapping[str, Price]:
    """Return every bundled price, by the name that its provider gives the model."""
    providers = YamlDocument(Path(__file__).with_name("prices.yaml")).data.values()
    return {
        name: Price(**prices, as_of=provider["as_of"], source=provider["source"])
        for provider in providers
        for name, prices in provider["models"].items()
    }


def resolved(price: object) -> object:
    """Return a price as written in models.yaml; of one that is `{bundled: NAME}`, the entry of that name.

    Raises:
        ValueError: there is none, or other keys stand beside it; the message says which names are near.
    """
    if not isinstance(price, dict) or "bundled" not in price:
        return price
    if len(price) > 1:
        raise ValueError("`bundled` is the whole price: expected no other key beside it")
    name = price["bundled"]
    if not isinstance(name, str):
        raise ValueError("bundled: expected a model's name, as `smallfirst prices` lists them")
    if found := bundled().get(name):
        return found
    near = " or ".join(map(repr, difflib.get_close_matches(name, bundled())))
    meant = f"; did you mean {near}?" if near else ""
    raise ValueError(f"bundled: no price for {name!r}{meant} (`smallfirst prices` lists them all)")


def out_of_date(models: Iterable[Model], today: date) -> list[str]:
    """Return a line for each model whose price was looked up more than half a year ago."""
    return [
        f"{model.where}.price: looked up on {model.price.as_of}, more than half a year ago: does it still hold?"
        for model in models
        if model.price and model.price.as_of and today - model.price.as_of > GOOD_FOR
    ]
