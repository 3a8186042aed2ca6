from __future__ import annotations

from datetime import date, timedelta

import pytest

from router.config.price_list import MAX_AGE, bundled, resolve, stale_price_warnings
from tests.support.fakes import HOURS, large, model

LOOKED_UP = date(2026, 11, 10)
DATED = HOURS.model_copy(update={"as_of": LOOKED_UP})


def test_every_bundled_price_is_by_tokens_and_says_when_and_where_it_was_looked_up() -> None:
    assert len(bundled()) > 30
    for name, price in bundled().items():
        assert price.rates, name
        assert price.as_of, name
        assert price.source, name
        assert price.source.startswith("https://"), name


def test_a_bundled_output_costs_no_less_than_its_input_and_its_cached_input_no_more() -> None:
    for name, price in bundled().items():
        for rate in price.rates:
            assert 0 < rate.cached <= rate.input <= rate.output, name


def test_a_name_takes_the_bundled_price() -> None:
    price = resolve({"bundled": "gpt-4.1-mini"})
    assert price is bundled()["gpt-4.1-mini"]
    assert (price.input_usd_per_mtok, price.cached_input_usd_per_mtok, price.output_usd_per_mtok) == (0.4, 0.1, 1.6)


@pytest.mark.parametrize("price", [None, 3, "bundled", {"replica_hour_usd": 1.0}, []])
def test_what_names_no_bundled_price_is_left_as_it_is(price: object) -> None:
    assert resolve(price) is price


@pytest.mark.parametrize(
    ("price", "message"),
    [
        ({"bundled": "gpt-4.1-mni"}, r"no price for 'gpt-4.1-mni'; did you mean 'gpt-4.1-mini'"),
        ({"bundled": "smollm2"}, r"no price for 'smollm2' \(`smallfirst prices` lists them all\)"),
        ({"bundled": 41}, "expected a model's name"),
        ({"bundled": "gpt-4.1", "as_of": "2026-11-10"}, "expected no other key"),
    ],
)
def test_a_wrong_name_is_told_with_those_that_are_near(price: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve(price)


def test_a_price_is_old_after_half_a_year() -> None:
    models = [model(price=DATED), large(price=HOURS), large("free", price=None)]
    assert stale_price_warnings(models, LOOKED_UP + MAX_AGE) == []
    [line] = stale_price_warnings(models, LOOKED_UP + MAX_AGE + timedelta(days=1))
    assert line == "models.slm.price: looked up on 2026-11-10, more than half a year ago: does it still hold?"
