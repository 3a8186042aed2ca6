"""The first rung takes every call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from router.config.models import Rung
from router.policy.base import NO_LATENCIES
from router.types import ChatCall, Decision

_FIRST = Decision(rung=0, reason="fixed")


class Fixed:
    """Start at the bottom; the next model is for what the first cannot do."""

    def decide(self, call: ChatCall, rungs: Sequence[Rung], waits: Mapping[str, float] = NO_LATENCIES) -> Decision:
        """Return the first rung."""
        return _FIRST
