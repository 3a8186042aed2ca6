"""The price of a model, as written in models.yaml and the bundled list. `cost` applies it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from itertools import pairwise
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from router.types import MAX_TOKEN_COUNT, NANO
from router.yaml.entry import Entry, as_tuple

ORDINARY_TIERS = frozenset({"", "auto", "default", "standard", "on_demand"})
"""what answers call the service tier that a price without a tier's name is for, if they name one at all"""
Usd = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


def _iso_date(value: object) -> object:
    try:
        return date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("expected a date such as 2026-11-10") from None


class Rate(NamedTuple):
    """Nano-dollars per million tokens of each kind, for requests whose prompt has more than `above` tokens."""

    above: int
    input: int
    cached: int
    output: int


class PromptTier(Entry):
    """The price of a whole request whose prompt has more tokens than this, in US dollars per million tokens."""

    above_prompt_tokens: int = Field(ge=1, le=MAX_TOKEN_COUNT)
    input_usd_per_mtok: Usd
    cached_input_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd


class ServiceTier(Entry):
    """The price of requests that were served in this tier, in US dollars per million tokens."""

    input_usd_per_mtok: Usd
    cached_input_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd
    tiers: Annotated[tuple[PromptTier, ...], BeforeValidator(as_tuple)] = ()
    """prices for longer prompts, in ascending order"""

    @model_validator(mode="after")
    def _is_consistent(self) -> ServiceTier:
        _check_ascending(self.tiers)
        return self


class Price(Entry):
    """US dollars, either per hour of one replica or per million tokens of each kind."""

    replica_hour_usd: Usd | None = None
    input_usd_per_mtok: Usd | None = None
    cached_input_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd | None = None
    image_tokens: int | None = Field(None, ge=1, le=MAX_TOKEN_COUNT)
    """the most prompt tokens that one image counts as, for `routing.max_cost_usd`; if omitted, OpenAI's formula: 85,
    and 170 for each tile of 512 pixels, at most 1,445"""
    tiers: Annotated[tuple[PromptTier, ...], BeforeValidator(as_tuple)] = ()
    """prices for longer prompts, in ascending order"""
    service_tiers: dict[str, ServiceTier] = Field(default_factory=dict)
    """prices of other service tiers, by the name that an answer's `service_tier` has, such as `flex` or `priority`. An
    answer of a tier without a price has no known cost"""
    as_of: Annotated[date | None, BeforeValidator(_iso_date)] = None
    """the day on which the price was looked up"""
    source: str | None = Field(None, min_length=1)
    """where the price was looked up"""

    @model_validator(mode="after")
    def _is_consistent(self) -> Price:
        per_token = self.input_usd_per_mtok is not None and self.output_usd_per_mtok is not None
        any_token = (
            per_token
            or self.cached_input_usd_per_mtok is not None
            or (self.input_usd_per_mtok is not None or self.output_usd_per_mtok is not None)
        )
        if (self.replica_hour_usd is not None) == any_token or (any_token and not per_token):
            raise ValueError(
                "expected either `replica_hour_usd` alone, or `input_usd_per_mtok` and `output_usd_per_mtok` "
                "(and `cached_input_usd_per_mtok` if cached input is cheaper)"
            )
        if self.tiers and not per_token:
            raise ValueError("`tiers` require a price by tokens, not `replica_hour_usd`")
        if self.service_tiers and not per_token:
            raise ValueError("`service_tiers` require a price by tokens, not `replica_hour_usd`")
        if self.image_tokens and not per_token:
            raise ValueError("`image_tokens` requires a price by tokens, not `replica_hour_usd`")
        _check_ascending(self.tiers)
        return self

    @cached_property
    def nano_per_hour(self) -> int | None:
        """Return the nano-dollars per hour of one replica, or None if the price is by tokens."""
        return None if self.replica_hour_usd is None else _nano(self.replica_hour_usd)

    @cached_property
    def rates(self) -> tuple[Rate, ...]:
        """Return the token rates in ascending order of prompt length. Empty if the price is by the hour."""
        return _rates(self, self.input_usd_per_mtok, self.output_usd_per_mtok)

    @cached_property
    def service_rates(self) -> Mapping[str, tuple[Rate, ...]]:
        """Return the token rates of each service tier that has a price of its own."""
        return {
            name: _rates(tier, tier.input_usd_per_mtok, tier.output_usd_per_mtok)
            for name, tier in self.service_tiers.items()
        }

    def rates_of(self, service_tier: str) -> tuple[Rate, ...]:
        """Return the token rates of a service tier. Empty if they are unknown, or the price is by the hour."""
        if service_tier in self.service_tiers:
            return self.service_rates[service_tier]
        return self.rates if service_tier in ORDINARY_TIERS else ()

    def possible_rates(self, requested_tier: str) -> Sequence[tuple[Rate, ...]]:
        """Return the token rates of each service tier in which a request may be served.

        A provider may serve a request for a tier in its ordinary one. `auto`, or no tier, lets the provider's settings
        for the account decide.
        """
        if requested_tier in ("", "auto"):
            return self.rates, *self.service_rates.values()
        return self.rates, self.rates_of(requested_tier)


def _check_ascending(tiers: Sequence[PromptTier]) -> None:
    if any(later.above_prompt_tokens <= earlier.above_prompt_tokens for earlier, later in pairwise(tiers)):
        raise ValueError("expected `tiers` in ascending order of `above_prompt_tokens`")


def _rates(price: Price | ServiceTier, fresh: float | None, output: float | None) -> tuple[Rate, ...]:
    if fresh is None or output is None:
        return ()
    any_prompt = _rate(-1, fresh, price.cached_input_usd_per_mtok, output)
    return any_prompt, *(
        _rate(
            tier.above_prompt_tokens, tier.input_usd_per_mtok, tier.cached_input_usd_per_mtok, tier.output_usd_per_mtok
        )
        for tier in price.tiers
    )


def _rate(above: int, fresh: float, cached: float | None, output: float) -> Rate:
    return Rate(above, _nano(fresh), _nano(fresh if cached is None else cached), _nano(output))


def _nano(usd: float) -> int:
    return round(usd * NANO)
