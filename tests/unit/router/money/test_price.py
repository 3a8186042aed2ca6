from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from router.money.price import Price, PromptTier, Rate

LONGER = PromptTier(above_prompt_tokens=200_000, input_usd_per_mtok=2.5, output_usd_per_mtok=15.0)


def test_rates_rise_with_the_prompt_and_are_whole_nano_dollars() -> None:
    price = Price(input_usd_per_mtok=1.25, cached_input_usd_per_mtok=0.125, output_usd_per_mtok=10.0, tiers=(LONGER,))
    assert price.rates == (
        Rate(above=-1, input=1_250_000_000, cached=125_000_000, output=10_000_000_000),
        Rate(above=200_000, input=2_500_000_000, cached=2_500_000_000, output=15_000_000_000),
    )


def test_an_hour_has_no_rates_and_tokens_have_no_hour() -> None:
    assert Price(replica_hour_usd=2.69).rates == ()
    assert Price(replica_hour_usd=2.69).nano_per_hour == 2_690_000_000
    assert Price(input_usd_per_mtok=1.0, output_usd_per_mtok=1.0).nano_per_hour is None


def test_the_day_may_be_text() -> None:
    assert Price(replica_hour_usd=1.0, as_of="2026-11-10").as_of == date(2026, 11, 10)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"as_of": "10/11/2026"}, "expected a date such as 2026-11-10"),
        ({"as_of": "2026-13-01"}, "expected a date such as 2026-11-10"),
        ({"tiers": [LONGER, LONGER]}, "expected `tiers` in ascending order of `above_prompt_tokens`"),
        (
            {"tiers": [LONGER.model_copy(update={"above_prompt_tokens": 9}), LONGER][::-1]},
            "expected `tiers` in ascending order",
        ),
        (
            {"tiers": [{"above_prompt_tokens": 0, "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}]},
            "greater than",
        ),
        ({"tiers": [{"above_prompt_tokens": 1, "input_usd_per_mtok": 1.0}]}, "Field required"),
    ],
)
def test_what_is_no_price_is_refused(more: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Price(input_usd_per_mtok=1.25, output_usd_per_mtok=10.0, **more)  # type: ignore[arg-type]


def test_an_hour_has_no_tiers() -> None:
    with pytest.raises(ValidationError, match="`tiers` require a price by tokens"):
        Price(replica_hour_usd=1.0, tiers=(LONGER,))
