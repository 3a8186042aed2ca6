"""Recent latency of each model: seconds until its answer could be sent to the client. Pure."""

from __future__ import annotations

from collections.abc import Mapping

NEWEST_WEIGHT = 0.1
"""weight of the newest measurement in the moving average"""
MAX_AGE_S = 60.0
"""seconds until an average expires, so a model that was skipped for being slow is tried again"""


class LatencyAverages:
    """Moving averages in seconds by model. Each process has its own."""

    def __init__(self) -> None:
        self._means: dict[str, tuple[float, float]] = {}

    def note(self, model: str, seconds: float, now: float) -> None:
        """Add the latency of one answer."""
        mean, at = self._means.get(model, (seconds, now))
        mean = seconds if now - at > MAX_AGE_S else mean + NEWEST_WEIGHT * (seconds - mean)
        self._means[model] = mean, now

    def recent(self, now: float) -> Mapping[str, float]:
        """Return the averages that were updated within the last `MAX_AGE_S` seconds."""
        return {model: mean for model, (mean, at) in self._means.items() if now - at <= MAX_AGE_S}
