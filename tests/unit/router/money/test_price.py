from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from router.money.price import Price, PromptTier, Rate, ServiceTier

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
    with pytest.raises(ValidationError, match="`image_tokens` requires a price by tokens"):
        Price(replica_hour_usd=1.0, image_tokens=1000)


# --- service tiers

FLEX = ServiceTier(input_usd_per_mtok=0.5, output_usd_per_mtok=5.0, tiers=(LONGER,))
BY_TIER = Price(input_usd_per_mtok=1.0, output_usd_per_mtok=10.0, service_tiers={"flex": FLEX})


def test_a_service_tier_has_rates_of_its_own() -> None:
    assert [(rate.above, rate.input) for rate in BY_TIER.rates_of("flex")] == [(-1, 500_000_000), (200_000, 2.5e9)]
    assert BY_TIER.rates_of("priority") == (), "unknown, and not the ordinary price"


@pytest.mark.parametrize("name", ["", "default", "auto", "standard", "on_demand"])
def test_the_ordinary_tier_has_many_names(name: str) -> None:
    assert BY_TIER.rates_of(name) == BY_TIER.rates


def test_the_ordinary_tier_of_a_provider_may_have_a_price_by_name() -> None:
    assert Price(input_usd_per_mtok=1.0, output_usd_per_mtok=10.0, service_tiers={"default": FLEX}).rates_of("default")


@pytest.mark.parametrize(
    ("requested", "possible"),
    [("", ["", "flex"]), ("auto", ["", "flex"]), ("default", [""]), ("flex", ["", "flex"]), ("priority", ["", "none"])],
)
def test_a_request_may_be_served_in(requested: str, possible: list[str]) -> None:
    assert {*BY_TIER.possible_rates(requested)} == {BY_TIER.rates_of(name) for name in possible}


def test_an_hour_has_no_service_tiers() -> None:
    with pytest.raises(ValidationError, match="`service_tiers` require a price by tokens"):
        Price(replica_hour_usd=1.0, service_tiers={"flex": FLEX})


def test_prompt_tiers_of_a_service_tier_ascend() -> None:
    with pytest.raises(ValidationError, match="expected `tiers` in ascending order"):
        ServiceTier(input_usd_per_mtok=1.0, output_usd_per_mtok=1.0, tiers=(LONGER, LONGER))
