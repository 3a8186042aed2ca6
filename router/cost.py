"""Prices. Money is integer nano-dollars: sums are exact, and a tenth of a cent per million tokens still counts.

A model priced by tokens costs what its usage says. A replica priced by the hour costs its busy time, divided
among the requests in flight (processor sharing: Kleinrock, Queueing Systems II, 4.4): n requests together cost
exactly what the replica cost while it worked for them, whatever n is.
"""

from __future__ import annotations

from dataclasses import dataclass

from router.config import Price
from router.types import Usage

MTOK = 1_000_000
SECONDS_PER_HOUR = 3600


def of_tokens(usage: Usage, price: Price) -> int | None:
    """Return the nano-dollars of these tokens, rounded half up; None where the price is not by tokens."""
    if price.nano_per_mtok is None:
        return None
    of_input, of_cached, of_output = price.nano_per_mtok
    cached = min(usage.cached, usage.prompt)
    total = (usage.prompt - cached) * of_input + cached * of_cached + usage.completion * of_output
    return (total + MTOK // 2) // MTOK


def of_attempt(usage: Usage | None, busy_s: float, price: Price | None) -> int | None:
    """Return the nano-dollars of one attempt; None where its price, or the usage that it needs, is unknown."""
    if price is None:
        return None
    if price.nano_per_hour is not None:
        return round(busy_s * price.nano_per_hour / SECONDS_PER_HOUR)
    return of_tokens(usage, price) if usage else None


def at_most(prompt_tokens: int, completion_tokens: int | None, price: Price | None) -> int | None:
    """Return the most that a call that is yet to be made can cost in nano-dollars; None: there is no bound.

    Hours are already paid, so they count nothing. `completion_tokens` None: as many as the model likes.
    """
    if price is None:
        return None
    if price.nano_per_hour is not None:
        return 0
    if completion_tokens is None:
        return None
    return of_tokens(Usage(prompt=prompt_tokens, completion=completion_tokens), price)


@dataclass(slots=True)
class BusyShare:
    """Divides one replica's busy time among the requests that it works on at the same time.

    `virtual_s` grows by 1/n a second while n requests are in flight; what it grew by during a request is that
    request's share of the replica's time.
    """

    virtual_s: float = 0.0
    in_flight: int = 0
    since: float = 0.0

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

    def lose(self, now: float, count: int) -> None:
        """Count out requests that nobody will end: their process died. Their shares are charged to nobody."""
        self._advance(now)
        self.in_flight -= count

    def _advance(self, now: float) -> None:
        # another process may have read its clock before, and come after: time stands still for that moment
        if now > self.since:
            if self.in_flight:
                self.virtual_s += (now - self.since) / self.in_flight
            self.since = now
