"""Retries: whether the budget allows one, and how long to wait before it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from random import Random
from typing import NamedTuple

from router.attempt.failure import Failure
from router.attempt.ladder import Ladder, Move
from router.attempt.retry_budget import RetryBudget
from router.replicas.pool import Lease
from router.types import ASKED_DIFFERENTLY, EscalationReason

RETRY_SHARE, RETRY_FLOOR = 0.1, 30
"""At most a tenth of a model's requests is retried. The floor, 30 in 10 s, is for little traffic: enough for the
requests that were in flight at a replica when it died. Linkerd's is 100 in 10 s."""
MAX_PAUSE_S = 2.0
"""a longer `Retry-After` is left to the client"""
BACKOFF_S = 0.2
"""the longest pause before the same replica is asked again, if its upstream said nothing"""
OF_THE_UPSTREAM: frozenset[EscalationReason] = frozenset({"overloaded", "upstream_error", "timeout", "unavailable"})


class RetryContext(NamedTuple):
    """Where a request stands after a failure. Times are seconds of one clock."""

    now: float
    end_by: float | None
    """when it must have ended; None: it has no deadline"""
    other_replicas: int
    """replicas of the current model that could take the request and have not been tried"""
    retried: bool
    """the request was retried before"""
    may_ask_skipped: bool
    """models that the policy skipped may be asked"""


class Retries:
    """Lets a request be retried if the model's budget allows it. All requests of a process share it.

    A retry asks the same rung the same once more: to ask it differently, for a format, or to go one rung up is none.
    """

    def __init__(self, random: Random | None = None) -> None:
        self.budgets: defaultdict[str, RetryBudget] = defaultdict(lambda: RetryBudget(RETRY_SHARE, RETRY_FLOOR))
        """by model, so that one that fails spends no retry of another"""
        self._random = random or Random()  # noqa: S311 - no secret: it spreads retries in time

    def count_request(self, model: str, now: float) -> None:
        """Count a request that asks the model for the first time."""
        self.budgets[model].count_request(now)

    def next_step(self, ladder: Ladder, failure: Failure, at: RetryContext) -> Move:
        """Move on the ladder. Where the budget refuses a retry, the request goes one rung up, or fails."""
        longest_pause_s = MAX_PAUSE_S if at.end_by is None else max(0.0, min(MAX_PAUSE_S, at.end_by - at.now))

        def move(*, retried: bool) -> Move:
            return ladder.next_step(
                failure,
                other_replicas=at.other_replicas,
                retried=retried,
                may_ask_skipped=at.may_ask_skipped,
                longest_pause_s=longest_pause_s,
            )

        budget = self.budgets[ladder.current.name]
        found = move(retried=at.retried)
        if found.step != "retry" or failure.reason in ASKED_DIFFERENTLY:
            return found
        if not budget.withdraw(at.now):
            return move(retried=True)._replace(is_retry_refused=True)
        return found if at.other_replicas else found._replace(pause_s=min(self._pause_s(failure), longest_pause_s))

    def _pause_s(self, failure: Failure) -> float:
        """Return full jitter: any time up to the backoff ("Exponential Backoff And Jitter", AWS), after what was asked.

        There is one retry a request, so the backoff has no second step.
        """
        return (failure.pause_s or 0.0) + self._random.uniform(0.0, BACKOFF_S)


def heed_pause(lease: Lease, failure: Failure, now: float) -> Failure:
    """Return the failure with the pause that the upstream asked for. The replica gets no requests meanwhile."""
    told_s = lease.exchange.retry_after_s if lease.exchange is not None else None
    if told_s is not None and failure.reason in OF_THE_UPSTREAM:
        failure = replace(failure, pause_s=told_s)
    if failure.pause_s is not None:
        lease.replica.cooldown.begin(now, failure.pause_s)
    return failure
