"""After a failed attempt: try the rung again, go one rung up, or give up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from router.attempt.failure import TRIES_ON_A_RUNG, Failure

Step = Literal["retry", "escalate", "fail"]
ASKED_DIFFERENTLY = ("structured", "truncated", "ability")
"""told what was wrong, with more room, or without the constraint that the engine refused: no repetition"""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a request stands on its ladder."""

    tries: int
    """attempts made on this rung"""
    other_replicas: int
    """replicas of this rung that could take it and have not been tried"""
    rung_above: bool
    """a higher rung is there, and the client allows it"""
    retried: bool = False
    """this request was retried before, on whatever rung"""


def next_step(failure: Failure, at: Standing) -> Step:
    """Decide what follows a failed attempt.

    1. The request's own fault: fail; every model would refuse it.
    2. A second try can help, and the rung has had one: retry. A lost connection or 5xx on the only replica is
       retried just where nobody else can answer; with a rung above that is faster and surer. But for those that
       are asked differently, one retry a request: clients retry too, and three attempts times three are enough.
    3. A rung above: escalate.
    4. Fail.
    """
    if failure.reason is None:
        return "fail"
    if failure.retry and at.tries < TRIES_ON_A_RUNG:
        if failure.reason in ASKED_DIFFERENTLY:
            return "retry"
        if not at.retried and (at.other_replicas or not (failure.needs_other_replica or at.rung_above)):
            return "retry"
    return "escalate" if at.rung_above else "fail"
