"""How long each model lately took until its answer might leave. Pure."""

from __future__ import annotations

from collections.abc import Mapping

NEWEST_COUNTS = 0.1
"""share of the newest in the moving average"""
FORGOTTEN_S = 60.0
"""a model that is passed over for being slow is tried again after so long"""


class LatencyAverages:
    """Seconds by model; each process has its own."""

    def __init__(self) -> None:
        self._means: dict[str, tuple[float, float]] = {}

    def note(self, model: str, seconds: float, now: float) -> None:
        """Take note of one answer."""
        mean, at = self._means.get(model, (seconds, now))
        mean = seconds if now - at > FORGOTTEN_S else mean + NEWEST_COUNTS * (seconds - mean)
        self._means[model] = mean, now

    def recent(self, now: float) -> Mapping[str, float]:
        """Return what was measured within the last minute."""
        return {model: mean for model, (mean, at) in self._means.items() if now - at <= FORGOTTEN_S}
