"""One RequestRecord per request: its decisions, attempts and costs. Metrics, logs and headers read it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

from router.config.models import Model
from router.decision import Decision, Escalated, Judgement
from router.messages.prompt import rough_tokens
from router.messages.service_tier import service_tier_of
from router.money import cost
from router.money.price import Price
from router.types import (
    ASKED_DIFFERENTLY,
    ChatCall,
    EscalationReason,
    FormatHistory,
    Usage,
    VerdictWord,
)

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


ContinuationOutcome = Literal["continued", "ended", "diverged", "impossible"]
"""of a stream that broke off: another replica went on; only the end was missing; another replica gave another answer;
nobody could go on"""


class Attempt(Struct):
    """One request to one replica. `failure` is empty if its answer was accepted."""

    model: str
    replica: str
    price: Price | None = None
    failure: str = ""
    adapted: tuple[str, ...] = ()
    """what was changed in the request for this upstream, such as `top_k=dropped`"""
    answered: bool = False
    """whether the upstream began an answer; without one, no tokens are charged"""
    usage: Usage | None = None
    """token counts from the upstream"""
    estimate: Usage | None = None
    """estimated usage of an attempt that ended before the upstream sent its counts"""
    service_tier: str = ""
    """the one in which the upstream says that it served the request; after an interruption, the requested one"""
    ran_away: bool = False
    """the upstream stopped the answer because it repeats itself, and no format says that it is bad"""
    samples: int = 1
    """number of requested answers; more than one if they vote, and all are charged"""
    events: int = 0
    """content events of the stream so far, about one token each"""
    busy_s: float = 0.0
    """this request's share of the replica's time"""
    kept_tokens: int = 0
    """tokens of an earlier attempt's answer with which this attempt's prompt ends"""
    whole_usage: Usage | None = None
    """the tokens of the whole answer, if an earlier attempt gave its beginning"""

    def estimate_usage(self, call: ChatCall) -> None:
        """Estimate the usage of an interrupted attempt. Most providers charge for it, and none reports how much."""
        if self.answered and self.failure and self.usage is None:
            self.estimate = Usage(prompt=rough_tokens(call) + self.kept_tokens, completion=self.events)
            self.service_tier = self.service_tier or service_tier_of(call.body)

    @property
    def cost_nano_usd(self) -> int | None:
        """Return the cost, or None if the price or the usage is unknown. Unknown does not mean free."""
        usage = self.usage or self.estimate or (None if self.answered else Usage())
        return cost.attempt_cost(usage, self.busy_s, self.price, self.service_tier)


class Escalation(Struct, frozen=True):
    """One step up the ladder."""

    from_model: str
    to_model: str
    reason: EscalationReason


class ModelWait(NamedTuple):
    """A request's wait for a model to be loaded."""

    model: str
    seconds: float


class Bill(NamedTuple):
    """A request's costs in nano-dollars. None means unknown."""

    cost: int | None
    fallback: int | None
    saved: int | None
    """the fallback's cost minus the actual cost; negative if failed attempts cost more than was saved"""


class RequestRecord(Struct):
    """Everything that is known about one request. Times are seconds of the monotonic clock, money is nano-dollars."""

    request_id: str
    started: float
    client_request_id: str = ""
    session: str = ""
    """the client's own name for the conversation"""
    endpoint: str = ""
    route: str = ""
    """a configured name or empty, so a name that a client invented never becomes a metric label"""
    stream: bool = False
    escalated: Escalated | None = None
    """what is known of the conversation from its earlier turns"""
    decision: Decision | None = None
    attempts: list[Attempt] = []
    waits: list[ModelWait] = []
    retries: list[tuple[str, str]] = []
    """(model, reason) of each retry on the same rung"""
    refused_retries: list[tuple[str, str]] = []
    """(model, reason) of each retry that the retry budget refused"""
    hedges: list[tuple[str, str]] = []
    """(model, result) of each stream that was asked of a second replica, too; `won`: the second one began first"""
    escalations: list[Escalation] = []
    continuations: list[tuple[str, ContinuationOutcome]] = []
    """(model, outcome) of each stream that broke off after its beginning"""
    continued_by: list[str] = []
    """the replicas that went on with the answer after the first one"""
    verdicts: list[tuple[str, str, VerdictWord]] = []
    """(model, kind, word) of each checked answer"""
    misconfigured: list[tuple[str, str]] = []
    """(model, kind) of each refusal that the operator must mend"""
    judgements: list[Judgement] = []
    best_effort: str = ""
    """why a higher rung could not answer, so that a low-confidence answer was accepted or a skipped model was asked"""
    structured: str = ""
    """how the accepted answer satisfies its format: decoded, repaired, retried or escalated. Or why it does not:
    truncated or refused. While a stream is still being checked: checking. Without a requested format: none"""
    held: bool = False
    """whether the stream is held back until its verdict"""
    model: str = ""
    """the configured name of the model that answered"""
    fallback: Model | None = None
    """the route's last rung"""
    service_tier: str = ""
    """the one that the client asks for"""
    first_token_s: float | None = None
    """seconds from the start of the request to its first content"""
    status: int = 0
    outcome: Outcome = "internal_error"
    error_code: str = ""
    finished: float = 0.0
    _bill: Bill | None = None

    def bill(self) -> Bill:
        """Return the bill. It is computed at the first call, so call this only after the last attempt has ended."""
        if self._bill is None:
            cost, fallback = self.cost_nano_usd, self.fallback_cost_nano_usd
            self._bill = Bill(cost, fallback, None if cost is None or fallback is None else fallback - cost)
        return self._bill

    @property
    def answering(self) -> Attempt | None:
        """Return the attempt whose answer the client gets, or the last attempt."""
        for attempt in reversed(self.attempts):
            if not attempt.failure:
                return attempt
        return self.attempts[-1] if self.attempts else None

    @property
    def adapted(self) -> tuple[str, ...]:
        """Return what was changed in the request for the upstream that answered."""
        one = self.answering
        return one.adapted if one else ()

    @property
    def usage(self) -> Usage | None:
        """Return the tokens of the answer."""
        one = self.answering
        return (one.whole_usage or one.usage) if one else None

    @property
    def confidence(self) -> float | None:
        """Return the last judged P(the answer is as good as the fallback's), or None if it was not judged."""
        judged = [one.probability for one in self.judgements if one.model == self.model]
        return judged[-1] if judged else None

    @property
    def fallback_cost_nano_usd(self) -> int | None:
        """Return the fallback's cost for the same tokens, or None without its price or an answer."""
        one = self.answering
        if not self.model or one is None or self.fallback is None or self.fallback.price is None:
            return None
        if one.whole_usage is not None:
            return cost.token_cost(one.whole_usage, self.fallback.price, self.service_tier)
        if self.model == self.fallback.name:
            return one.cost_nano_usd
        if one.usage is None:
            return None
        return cost.token_cost(self._asked_once(one, one.usage), self.fallback.price, self.service_tier)

    def _asked_once(self, one: Attempt, usage: Usage) -> Usage:
        """Return the tokens of a single, first request: without further votes and without a correction's prompt."""
        prompt = min(tried.usage.prompt for tried in self.attempts if tried.usage and tried.model == one.model)
        return Usage(prompt, min(usage.cached, prompt), round(usage.completion / one.samples))

    @property
    def cost_nano_usd(self) -> int | None:
        """Return the total cost of all attempts, or None if the cost of one is unknown."""
        total = 0
        for attempt in self.attempts:
            if (one := attempt.cost_nano_usd) is None:
                return None
            total += one
        return total

    @property
    def format_history(self) -> FormatHistory:
        """Return whether the current attempt is the first, a retry or an escalation, as far as the format matters."""
        if any(escalation.reason in ASKED_DIFFERENTLY for escalation in self.escalations):
            return "escalated"
        return "retried" if any(reason in ASKED_DIFFERENTLY for _, reason in self.retries) else "decoded"

    @property
    def reason(self) -> str:
        """Return why this model answered: the reason of the last escalation, or else of the policy."""
        if self.best_effort:
            return f"unsure: {self.best_effort}"
        if self.escalations and self.escalations[-1].reason != "policy":
            return self.escalations[-1].reason
        return self.decision.reason if self.decision else ""
