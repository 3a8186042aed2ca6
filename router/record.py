"""One RequestRecord per request: what was decided, tried and spent. Metrics, logs and headers read it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

from router.config.models import Model
from router.decision import Decision, Judgement
from router.messages.prompt import rough_tokens
from router.money import cost
from router.money.price import Price
from router.types import ASKED_DIFFERENTLY, ChatCall, EscalationReason, FormatHistory, Usage, VerdictWord

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


class Attempt(Struct):
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
    samples: int = 1
    """answers that were asked for so that they vote on one; all of them are paid"""
    events: int = 0
    """content events of a stream so far, about a token each"""
    busy_s: float = 0.0
    """this request's share of the replica's time"""

    def estimate_usage(self, call: ChatCall) -> None:
        """Estimate what a broken-off attempt used: most providers charge for it, and none reports how much."""
        if self.answered and self.failure and self.usage is None:
            self.estimate = Usage(prompt=rough_tokens(call), completion=self.events)

    @property
    def cost_nano_usd(self) -> int | None:
        """Return what it cost; None where the price or the usage is unknown, which is not the same as free."""
        usage = self.usage or self.estimate or (None if self.answered else Usage())
        return cost.of_attempt(usage, self.busy_s, self.price)


class Escalation(Struct, frozen=True):
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


class RequestRecord(Struct):
    """Times are seconds of the monotonic clock; money is integer nano-dollars."""

    request_id: str
    started: float
    client_request_id: str = ""
    endpoint: str = ""
    route: str = ""
    """a configured name, or empty: what a client made up never becomes a metric label"""
    stream: bool = False
    decision: Decision | None = None
    attempts: list[Attempt] = []
    retries: list[tuple[str, str]] = []
    """(model, reason) of each further try on the same rung"""
    escalations: list[Escalation] = []
    verdicts: list[tuple[str, str, VerdictWord]] = []
    """(model, kind, word) of each checked answer"""
    judgements: list[Judgement] = []
    best_effort: str = ""
    """why an answer below the confidence threshold was accepted, or a skipped model asked: what kept a higher rung"""
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
    def answering(self) -> Attempt | None:
        """Return the attempt whose answer the client gets, or the last one."""
        for attempt in reversed(self.attempts):
            if not attempt.failure:
                return attempt
        return self.attempts[-1] if self.attempts else None

    @property
    def usage(self) -> Usage | None:
        """Return the tokens of the attempt that answered."""
        return self.answering.usage if self.answering else None

    @property
    def confidence(self) -> float | None:
        """Return P(the answer is as good as the fallback's) as it was judged last; None: it was not."""
        judged = [one.probability for one in self.judgements if one.model == self.model]
        return judged[-1] if judged else None

    @property
    def fallback_cost_nano_usd(self) -> int | None:
        """Return what the fallback would have cost for the same tokens; None without its price or an answer."""
        one = self.answering
        if not self.model or one is None or self.fallback is None or self.fallback.price is None:
            return None
        if self.model == self.fallback.name:
            return one.cost_nano_usd
        return None if one.usage is None else cost.of_tokens(self._asked_once(one, one.usage), self.fallback.price)

    def _asked_once(self, one: Attempt, usage: Usage) -> Usage:
        """Return an answer's tokens without what a vote added to it, and what a correction added to its prompt."""
        prompt = min(tried.usage.prompt for tried in self.attempts if tried.usage and tried.model == one.model)
        return Usage(prompt, min(usage.cached, prompt), round(usage.completion / one.samples))

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
    def format_history(self) -> FormatHistory:
        """Return how the request came to its present attempt, as far as the answer's format is concerned."""
        if any(escalation.reason in ASKED_DIFFERENTLY for escalation in self.escalations):
            return "escalated"
        return "retried" if any(reason in ASKED_DIFFERENTLY for _, reason in self.retries) else "decoded"

    @property
    def reason(self) -> str:
        """Return why this model answered: the last escalation's reason, else the policy's."""
        if self.best_effort:
            return f"unsure: {self.best_effort}"
        if self.escalations and self.escalations[-1].reason != "policy":
            return self.escalations[-1].reason
        return self.decision.reason if self.decision else ""
