"""After a failed attempt: try the rung again, go one rung up, or give up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from router.attempt.failure import MAX_TRIES_ON_A_RUNG, Failure
from router.types import ASKED_DIFFERENTLY

Step = Literal["retry", "escalate", "fail"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a request stands on its ladder."""

    tries: int
    """attempts made on this rung"""
    other_replicas: int
    """replicas of this rung that could take the request and have not been tried"""
    can_escalate: bool
    """another model may be asked: on a higher rung, or beside this one if the policy chose it, too"""
    retried: bool = False
    """this request was retried before, on any rung, or may not be retried"""
    longest_pause_s: float = 0.0
    """how long the request may wait for the same replica"""


def next_step(failure: Failure, at: Standing) -> Step:
    """Decide what follows a failed attempt.

    1. The request itself is at fault: fail. Every model would refuse it.
    2. A second try can help, and the rung has had one try: retry.
       a. The next try is asked differently (with the fault, with more room, without the refused constraint): always.
       b. Otherwise once per request: clients retry too, and their retries multiply with ours. The only replica is asked
          again only if no other model can answer, because escalating is faster: after a lost connection or a 5xx, or
          when its upstream said how long to wait, and that is not too long.
    3. Another model may be asked: escalate.
    4. Fail.
    """
    if failure.reason is None:  # 1
        return "fail"
    if failure.retry and at.tries < MAX_TRIES_ON_A_RUNG:  # 2
        if failure.reason in ASKED_DIFFERENTLY:  # 2a
            return "retry"
        if not at.retried and (at.other_replicas or (_same_may_help(failure, at) and not at.can_escalate)):  # 2b
            return "retry"
    return "escalate" if at.can_escalate else "fail"  # 3, 4


def _same_may_help(failure: Failure, at: Standing) -> bool:
    if failure.pause_s is None:
        return not failure.needs_other_replica
    return failure.pause_s <= at.longest_pause_s
