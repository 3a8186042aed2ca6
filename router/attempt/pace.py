"""Is a stream fast enough in its first seconds? Until that is known, another replica can still be asked. Pure."""

from __future__ import annotations

from math import ceil

from router.config.model_options import Timeouts


class Pace:
    """Counts the first tokens of a stream against `timeouts.min_tokens_per_s`. Times are of the monotonic clock."""

    __slots__ = ("_probe_s", "_tokens", "end_by")

    def __init__(self, min_tokens_per_s: float, probe_s: float) -> None:
        self._tokens = ceil(min_tokens_per_s * probe_s)
        self._probe_s = probe_s
        self.end_by: float | None = None
        """when the tokens must have come; None before the first one"""

    @staticmethod
    def of(timeouts: Timeouts) -> Pace | None:
        """Return the count of a new stream, or None if the model has no such limit."""
        rate = timeouts.min_tokens_per_s
        return None if rate is None else Pace(rate, timeouts.probe_s)

    def is_shown(self, tokens: int, now: float) -> bool:
        """Return whether so many tokens, all that have come, are enough. The time starts with the first one."""
        if tokens and self.end_by is None:
            self.end_by = now + self._probe_s
        return tokens >= self._tokens
