"""One RequestRecord per request: what was decided, tried and spent. Metrics, logs and headers read it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from router import cost
from router.config import Model, Price
from router.types import ConstraintKind, Decision, EscalationReason, Usage, VerdictWord

Outcome = Literal[
    "ok",
    "client_error",
    "overloaded",
    "upstream_error",
    "timeout",
    "structured_violation",
    "disconnected",
    "internal_error",
]


@dataclass(slots=True)
class Attempt:
    """One request to one replica. `failure` is empty when its answer was accepted."""

    model: str
    replica: str
    price: Price | None = None
    failure: str = ""
    answered: bool = False
    """the upstream began an answer; before that, tokens are not charged"""
    usage: Usage | None = None
    """as the upstream counted"""
    estimate: Usage | None = None
    """of an attempt that broke off before the upstream said its count"""
    events: int = 0
    """content events of a stream so far, about a token each"""
    busy_s: float = 0.0
    """this request's share of the replica's time"""

    @property
    def cost_nano_usd(self) -> int | None:
        """Return what it cost; None where the price or the usage is unknown, which is not the same as free."""
        usage = self.usage or self.estimate or (None if self.answered else Usage())
        return cost.of_attempt(usage, self.busy_s, self.price)


@dataclass(frozen=True, slots=True)
class Escalation:
    """One step up the ladder."""

    from_model: str
    to_model: str
    reason: EscalationReason


class Bill(NamedTuple):
    """A request's money in nano-dollars; None where it is not known."""

    cost: int | None
    fallback: int | None
    saved: int | None
    """what the fallback would have cost, less what was spent; negative after a vain attempt"""


@dataclass(slots=True)
class RequestRecord:
    """Times are seconds of the monotonic clock; money is integer nano-dollars."""

    request_id: str
    started: float
    client_request_id: str = ""
    endpoint: str = ""
    route: str = ""
    """a configured name, or empty: what a client made up never becomes a metric label"""
    stream: bool = False
    decision: Decision | None = None
    attempts: list[Attempt] = field(default_factory=list)
    retries: list[tuple[str, str]] = field(default_factory=list)
    """(model, reason) of each further try on the same rung"""
    escalations: list[Escalation] = field(default_factory=list)
    verdicts: list[tuple[str, ConstraintKind, VerdictWord]] = field(default_factory=list)
    """(model, kind, word) of each checked answer"""
    structured: str = ""
    """how the accepted answer came to satisfy its format (decoded, repaired, retried, escalated), why it does not
    (truncated, refused), checking: only its end will tell, or none: no format was asked for"""
    held: bool = False
    """the answer's stream waits for its verdict"""
    dropped: tuple[str, ...] = ()
    """fields that the answering upstream could not take"""
    model: str = ""
    """our name of the model that answered"""
    fallback: Model | None = None
    """the route's last rung"""
    first_token_s: float | None = None
    """seconds from the request's start to its first content"""
    status: int = 0
    outcome: Outcome = "internal_error"
    error_code: str = ""
    finished: float = 0.0
    _bill: Bill | None = None

    def bill(self) -> Bill:
        """Return the money, worked out at the first call: for when nothing more is spent."""
        if self._bill is None:
            cost, fallback = self.cost_nano_usd, self.fallback_cost_nano_usd
            self._bill = Bill(cost, fallback, None if cost is None or fallback is None else fallback - cost)
        return self._bill

    @property
    def usage(self) -> Usage | None:
        """Return the tokens of the last attempt, the one that answered."""
        return self.attempts[-1].usage if self.attempts else None

    @property
    def fallback_cost_nano_usd(self) -> int | None:
        """Return what the fallback would have cost for the same tokens; None without its price or an answer."""
        if not self.model or self.fallback is None or self.fallback.price is None:
            return None
        if self.model == self.fallback.name:
            return self.attempts[-1].cost_nano_usd
        return cost.of_tokens(self.usage, self.fallback.price) if self.usage else None

    @property
    def cost_nano_usd(self) -> int | None:
        """Return what all attempts cost together; None where one of them could not be priced."""
        total = 0
        for attempt in self.attempts:
            if (one := attempt.cost_nano_usd) is None:
                return None
            total += one
        return total

    @property
    def reason(self) -> str:
        """Return why this model answered: the last escalation's reason, else the policy's."""
        if self.escalations and self.escalations[-1].reason != "policy":
            return self.escalations[-1].reason
        return self.decision.reason if self.decision else ""
