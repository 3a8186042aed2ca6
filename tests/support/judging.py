"""A rule of acceptance that is known beforehand, and remembers what it was asked."""

from __future__ import annotations

from dataclasses import dataclass, field

from router.decision import Confidence, Judgement


@dataclass
class Rule:
    """Accepts what is more likely good than not, and nothing of which no score is known."""

    gain: float = 0.5
    threshold: float = 0.2
    asked: list[tuple[Confidence | None, float | None, bool, bool]] = field(default_factory=list)

    def __call__(
        self, confidence: Confidence | None, score: float | None, *, beginning: bool = False, voted: bool = False
    ) -> Judgement:
        self.asked.append((confidence, score, beginning, voted))
        accepted = score is not None and score > 0
        return Judgement("slm", score, self.gain, self.threshold, accepted, beginning, voted, confidence)
