"""A policy scores a call and chooses the rung to start at. Pure: no I/O, no clock.

A policy that learns (classifier, cascade) gets its evidence in its constructor and keeps this one method.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from router.config import Route
from router.policy.fixed import Fixed
from router.policy.heuristic import Heuristic
from router.types import ChatCall, Decision, PolicyName


class Policy(Protocol):
    """Chooses where on a route's ladder a call starts."""

    def decide(self, call: ChatCall, rungs: int) -> Decision:
        """Return the rung to start at, below `rungs`, and why."""
        ...


POLICIES: dict[PolicyName, Callable[[Route], Policy]] = {
    "fixed": lambda route: Fixed(),
    "heuristic": lambda route: Heuristic(route.threshold),
}
