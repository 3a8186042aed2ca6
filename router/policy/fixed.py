"""The first rung takes every call."""

from __future__ import annotations

from router.types import ChatCall, Decision


class Fixed:
    """Start at the bottom; the next rung is for what the first cannot do."""

    def decide(self, call: ChatCall, rungs: int) -> Decision:
        """Return the first rung."""
        return Decision(rung=0, reason="fixed")
