"""Costs. Money is integer nano-dollars: sums are exact, and a tenth of a cent per million tokens still counts.

A model with a token price costs its usage. A replica with an hourly price costs its busy time, divided among the
requests in flight (processor sharing: Kleinrock, Queueing Systems II, 4.4). So n requests together cost exactly what
the replica cost while it worked on them, for every n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.money.price import Price, Rate
from router.types import Usage

MTOK = 1_000_000
SECONDS_PER_HOUR = 3600


def token_cost(usage: Usage, price: Price, service_tier: str = "") -> int | None:
    """Return the cost of these tokens in nano-dollars, rounded half up.

    None: the price is not by tokens, or that of the service tier is unknown. The length of the prompt, cached tokens
    included, selects the rate for the whole request.
    """
    rates = price.rates_of(service_tier)
    return _charge(usage, rates) if rates else None


def time_cost(seconds: float, price: Price) -> int | None:
    """Return the cost of one replica for `seconds` in nano-dollars, or None if the price is not by the hour."""
    return None if price.nano_per_hour is None else round(seconds * price.nano_per_hour / SECONDS_PER_HOUR)


def attempt_cost(usage: Usage | None, busy_s: float, price: Price | None, service_tier: str = "") -> int | None:
    """Return the cost of one attempt in nano-dollars, or None if its price or the required usage is unknown.

    `service_tier` is the one in which the upstream says that it served the request, or empty.
    """
    if price is None:
        return None
    if price.nano_per_hour is not None:
        return time_cost(busy_s, price)
    return token_cost(usage, price, service_tier) if usage else None


def marginal_cost(expected: Usage, price: Price | None) -> int | None:
    """Return the nano-dollars that one more call of this usage adds to the bill, or None without a price.

    An hourly price adds 0, because the replica is paid for whether it works or not.
    """
    if price is None:
        return None
    return token_cost(expected, price) if price.rates else 0


def max_cost(
    prompt_tokens: int, completion_tokens: int | None, price: Price | None, service_tier: str = ""
) -> int | None:
    """Return the most that one more call can add to the bill in nano-dollars, or None if there is no limit.

    `prompt_tokens` is an upper limit, so a shorter prompt may be the most expensive one. `completion_tokens` is None
    if the completion has no limit. `service_tier` is the requested one; the dearest that the request may get counts.
    """
    if price is None or not price.rates:
        return marginal_cost(Usage(), price)
    possible = price.possible_rates(service_tier)
    if completion_tokens is None or not all(possible):
        return None
    return max(_max_charge(prompt_tokens, completion_tokens, rates) for rates in possible)


def _max_charge(prompt_tokens: int, completion_tokens: int, rates: Sequence[Rate]) -> int:
    tier_limits = (rate.above for rate in rates[1:] if rate.above < prompt_tokens)
    return max(
        _charge(Usage(prompt, cached, completion_tokens), rates)
        for prompt in (prompt_tokens, *tier_limits)
        for cached in (0, prompt)
    )


def _charge(usage: Usage, rates: Sequence[Rate]) -> int:
    rate = rates[0]
    for longer_prompt_rate in rates[1:]:
        if usage.prompt > longer_prompt_rate.above:
            rate = longer_prompt_rate
    cached = min(usage.cached, usage.prompt)
    total = (usage.prompt - cached) * rate.input + cached * rate.cached + usage.completion * rate.output
    return (total + MTOK // 2) // MTOK


@dataclass(slots=True)
class BusyShare:
    """Divides one replica's busy time among its concurrent requests.

    `virtual_s` grows by 1/n per second while n requests are in flight. Its growth during a request is the request's
    share of the replica's time.
    """

    virtual_s: float = 0.0
    in_flight: int = 0
    since: float = 0.0
    busy_s: float = 0.0
    """seconds until `since` with at least one request in flight"""

    def enter(self, now: float) -> float:
        """Count one request in. Return the mark that `leave` needs."""
        self._advance(now)
        self.in_flight += 1
        return self.virtual_s

    def leave(self, now: float, mark: float) -> float:
        """Count the request out. Return its share in seconds."""
        self._advance(now)
        self.in_flight -= 1
        return self.virtual_s - mark

    def drop(self, now: float, count: int) -> None:
        """Count out the requests of a process that died. Their shares are not charged."""
        self._advance(now)
        self.in_flight -= count

    def busy_until(self, now: float) -> float:
        """Return the seconds with at least one request in flight."""
        return self.busy_s + (max(now, self.since) - self.since) if self.in_flight else self.busy_s

    def _advance(self, now: float) -> None:
        # another process may read its clock earlier but get here later; `now` before `since` adds nothing
        if now > self.since:
            if self.in_flight:
                self.virtual_s += (now - self.since) / self.in_flight
                self.busy_s += now - self.since
            self.since = now
