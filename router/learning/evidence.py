"""The evidence of one small model, compared with the fallback. Predictions are plain Python: no numpy, no I/O.

    expected gain = P(the small model's answer is worse) + trust * (gain estimated from the prompt - its task's mean)

P is calibrated per task. The label is "as good as the fallback's answer", not "correct": if both answers are wrong,
escalation gains nothing. `GainModel` estimates the gain from the prompt. `trust` is fitted to estimates for calls that
were not learned from (stacking: Wolpert, Neural Networks 5(2), 1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from statistics import fmean

from msgspec import Struct

from router.decision import Prior
from router.learning.calibration import Calibration
from router.learning.gain import GainEstimate, GainModel

ALL_TASKS = ""
"""stands for all calls; used for tasks with too few labelled calls"""
TIE_BREAK = 1e-9
"""beyond the ends of a curve gains are equal; this weight ranks them by confidence"""
MAX_GAIN = 1.0
"""the expected gain without any evidence"""
MAX_EXPONENT = 700.0
"""`exp` overflows above it"""


class Example(Struct, frozen=True):
    """One labelled call that both models answered."""

    task: str
    """the fingerprint"""
    text: str
    """the whole prompt"""
    weak: float
    strong: float
    """quality of the answers, 0 to 1"""
    has_confidence: bool = False
    score: float | None = None
    """log-odds of the small model's answer; None with `has_confidence` means the lowest"""
    first: float | None = None
    """the log-odds of the first tokens of its answer, or None if unknown"""
    completion_tokens: int | None = None
    """of the fallback's answer"""

    @property
    def as_good(self) -> bool:
        """Return whether the small model's answer is as good as the fallback's."""
        return self.weak >= self.strong

    @property
    def gain(self) -> float:
        """Return the quality gained by asking the fallback, -1 to 1."""
        return self.strong - self.weak


class Comparison(Struct, frozen=True, forbid_unknown_fields=True):
    """A call that was not learned from. Guaranteed thresholds are computed from such calls."""

    task: str
    gain: float
    """expected gain, given the answer's confidence"""
    prompt_tokens: int
    """as `rough_tokens` counts"""
    worse: bool
    """the small model's answer was not as good as the fallback's"""


class TaskAverages(Struct, frozen=True, forbid_unknown_fields=True):
    """Averages over the calls of one task."""

    guess: float
    """mean of the gains that `GainModel` estimates from the prompts"""
    gains: Sequence[float] = ()
    """quantiles of the gains expected from the answers' confidences, ascending"""
    completion_tokens: float | None = None
    """mean of the fallback's answers"""


class Evidence(Struct, frozen=True, forbid_unknown_fields=True):
    """Predicts the gain. `fit` makes it; msgspec encodes and decodes it."""

    calibration: Calibration = Calibration()
    beginnings: Calibration = Calibration()
    """the calibration of the first `beginning_tokens` tokens of an answer"""
    beginning_tokens: int = 0
    prompts: GainModel = GainModel()
    trust: float = 0.0
    """weight of the gain estimated from the prompt if the answer's confidence is known, 0 to 1"""
    trust_before: float = 0.0
    """its weight before there is an answer, 0 to 1"""
    tasks: Mapping[str, TaskAverages] = {}

    @classmethod
    def fit(cls, examples: Sequence[Example], beginning_tokens: int = 0) -> Evidence:
        """Learn from labelled calls; takes seconds. Calls without a confidence are used for the prompt's part only.

        Args:
            examples: in any order.
            beginning_tokens: the number of tokens that `Example.first` covers; 0 if it is not used.

        Raises:
            ValueError: a score is not finite.
        """
        from router.learning.evidence_fit import fit  # noqa: PLC0415 - only fitting imports numpy

        return fit(examples, beginning_tokens)

    def prior(self, task: str, text: str) -> Prior:
        """Return the expectation for a call before the model is asked.

        As slow as `GainModel.estimate` if `trust` or `trust_before` is above 0; otherwise a microsecond.
        """
        averages = self._averages(task)
        if averages is None:
            return Prior(task)
        beyond = self.prompts.gain(text) - averages.guess if self.trust or self.trust_before else 0.0
        return Prior(task, [gain + self.trust_before * beyond for gain in averages.gains], self.trust * beyond)

    def gain(self, prior: Prior, score: float | None, *, beginning: bool = False) -> float:
        """Return the expected gain of asking the fallback, about -1 to 1. It falls as the confidence rises.

        Args:
            prior: the expectation before the answer.
            score: log-odds of the answer, or None if it has no confidence.
            beginning: whether the score covers only the first `beginning_tokens` tokens.
        """
        if score is None:
            return fmean(prior.likely) if prior.likely else MAX_GAIN
        confidence = 1 + score / (1 + abs(score))
        return self._probability_worse(prior.task, score, beginning=beginning) + prior.hint - TIE_BREAK * confidence

    def completion_tokens(self, task: str) -> float | None:
        """Return the mean length of the fallback's answers to such calls, or None if unknown."""
        averages = self._averages(task)
        return None if averages is None else averages.completion_tokens

    def prompt_gain(self, text: str) -> GainEstimate:
        """Return the gain estimated from the prompt alone."""
        return self.prompts.estimate(text)

    def _probability_worse(self, task: str, score: float, *, beginning: bool) -> float:
        """Return P(the small model's answer is worse than the fallback's)."""
        if beginning or self.calibration.route is not None:
            return 1 - (self.beginnings if beginning else self.calibration).probability(task, score)
        # no labelled confidences: use them uncalibrated
        return 1 / (1 + exp(min(score, MAX_EXPONENT)))

    def _averages(self, task: str) -> TaskAverages | None:
        return self.tasks.get(task) or self.tasks.get(ALL_TASKS)
