"""The price of a model, as written in models.yaml and the bundled list. `cost` applies it."""

from __future__ import annotations

from datetime import date
from functools import cached_property
from itertools import pairwise
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from router.types import MAX_TOKEN_COUNT, NANO
from router.yaml.entry import Entry, as_tuple

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


class Price(Entry):
    """US dollars, either per hour of one replica or per million tokens of each kind."""

    replica_hour_usd: Usd | None = None
    input_usd_per_mtok: Usd | None = None
    cached_input_usd_per_mtok: Usd | None = None
    output_usd_per_mtok: Usd | None = None
    tiers: Annotated[tuple[PromptTier, ...], BeforeValidator(as_tuple)] = ()
    """prices for longer prompts, in ascending order"""
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
        starts = [tier.above_prompt_tokens for tier in self.tiers]
        if any(later <= earlier for earlier, later in pairwise(starts)):
            raise ValueError("expected `tiers` in ascending order of `above_prompt_tokens`")
        return self

    @cached_property
    def nano_per_hour(self) -> int | None:
        """Return the nano-dollars per hour of one replica, or None if the price is by tokens."""
        return None if self.replica_hour_usd is None else _nano(self.replica_hour_usd)

    @cached_property
    def rates(self) -> tuple[Rate, ...]:
        """Return the token rates in ascending order of prompt length. Empty if the price is by the hour."""
        if self.input_usd_per_mtok is None or self.output_usd_per_mtok is None:
            return ()
        any_prompt = _rate(-1, self.input_usd_per_mtok, self.cached_input_usd_per_mtok, self.output_usd_per_mtok)
        return any_prompt, *(
            _rate(
                tier.above_prompt_tokens,
                tier.input_usd_per_mtok,
                tier.cached_input_usd_per_mtok,
                tier.output_usd_per_mtok,
            )
            for tier in self.tiers
        )


def _rate(above: int, fresh: float, cached: float | None, output: float) -> Rate:
    return Rate(above, _nano(fresh), _nano(fresh if cached is None else cached), _nano(output))


def _nano(usd: float) -> int:
    return round(usd * NANO)
