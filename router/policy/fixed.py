"""The first rung takes every call; the next rung is for what the first one cannot do."""

from __future__ import annotations

from typing import ClassVar

from router.config.models import Route
from router.decision import Decision
from router.policy import register
from router.policy.base import Policy, Situation
from router.policy.stay import REASONS, stay

_FIRST = Decision(rung=0, reason="fixed")


@register
class Fixed(Policy):
    """Start at the first rung."""

    name = "fixed"
    reasons: ClassVar = {"fixed": "The route starts at its first rung.", **REASONS}

    @classmethod
    def build(cls, route: Route) -> Fixed:
        """Return the policy."""
        return cls()

    def decide(self, situation: Situation) -> Decision:
        """Return the first rung, or the one where the conversation stays."""
        return stay(situation, _FIRST)
