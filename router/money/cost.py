"""Prices. Money is integer nano-dollars: sums are exact, and a tenth of a cent per million tokens still counts.

A model priced by tokens costs what its usage says. A replica priced by the hour costs its busy time, divided
among the requests in flight (processor sharing: Kleinrock, Queueing Systems II, 4.4): n requests together cost
exactly what the replica cost while it worked for them, whatever n is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from router.money.price import Price, Rate
from router.types import Usage

MTOK = 1_000_000
SECONDS_PER_HOUR = 3600


def of_tokens(usage: Usage, price: Price) -> int | None:
    """Return the nano-dollars of these tokens, rounded half up; None where the price is not by tokens.

    The length of the prompt, the cached part included, says at which rate all of the request is charged.
    """
    return _charged(usage, price.rates) if price.rates else None


def of_time(seconds: float, price: Price) -> int | None:
    """Return the nano-dollars of one replica for so long; None where the price is not by the hour."""
    return None if price.nano_per_hour is None else round(seconds * price.nano_per_hour / SECONDS_PER_HOUR)


def of_attempt(usage: Usage | None, busy_s: float, price: Price | None) -> int | None:
    """Return the nano-dollars of one attempt; None where its price, or the usage that it needs, is unknown."""
    if price is None:
        return None
    if price.nano_per_hour is not None:
        return of_time(busy_s, price)
    return of_tokens(usage, price) if usage else None


def marginal(expected: Usage, price: Price | None) -> int | None:
    """Return the nano-dollars that one more such call adds to the bill; None without a price.

    A replica's hours are paid whether it works or not: they add nothing.
    """
    if price is None:
        return None
    return of_tokens(expected, price) if price.rates else 0


def at_most(prompt_tokens: int, completion_tokens: int | None, price: Price | None) -> int | None:
    """Return the most that one more call can add to the bill in nano-dollars; None: there is no bound.

    `prompt_tokens` is a bound too, so any shorter prompt may be the dearest. `completion_tokens` None: as many as
    the model likes.
    """
    if price is None or not price.rates:
        return marginal(Usage(), price)
    if completion_tokens is None:
        return None
    ends_of_rates = (rate.above for rate in price.rates[1:] if rate.above < prompt_tokens)
    return max(
        _charged(Usage(prompt, cached, completion_tokens), price.rates)
        for prompt in (prompt_tokens, *ends_of_rates)
        for cached in (0, prompt)
    )


def _charged(usage: Usage, rates: Sequence[Rate]) -> int:
    rate = rates[0]
    for of_longer_prompts in rates[1:]:
        if usage.prompt > of_longer_prompts.above:
            rate = of_longer_prompts
    cached = min(usage.cached, usage.prompt)
    total = (usage.prompt - cached) * rate.input + cached * rate.cached + usage.completion * rate.output
    return (total + MTOK // 2) // MTOK


@dataclass(slots=True)
class BusyShare:
    """Divides one replica's busy time among the requests that it works on at the same time.

    `virtual_s` grows by 1/n a second while n requests are in flight; what it grew by during a request is that
    request's share of the replica's time.
    """

    virtual_s: float = 0.0
    in_flight: int = 0
    since: float = 0.0
    busy_s: float = 0.0
    """seconds until `since` with at least one request in flight"""

    def enter(self, now: float) -> float:
        """Count one request in; return the mark that `leave` needs."""
        self._advance(now)
        self.in_flight += 1
        return self.virtual_s

    def leave(self, now: float, mark: float) -> float:
        """Count it out; return its share in seconds."""
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
        # another process may have read its clock before, and come after: time stands still for that moment
        if now > self.since:
            if self.in_flight:
                self.virtual_s += (now - self.since) / self.in_flight
                self.busy_s += now - self.since
            self.since = now
