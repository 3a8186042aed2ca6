"""What was learned of one small model against the fallback. Asking is plain Python: no numpy, no I/O.

    gain to expect = P(the small answer is not as good) + what the prompt says beyond that

P is calibrated per task. The label is "as good as the fallback's answer" and not "right": what both get wrong is no
reason to escalate. What the prompt adds is the gain that `GainModel` guesses from it, beyond what is usual in its task.
It counts as much as it was worth for calls that were not learned from (stacking: Wolpert, Neural Networks 5(2), 1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp
from statistics import fmean

from msgspec import Struct

from router.decision import Prior
from router.learning.calibration import Calibration
from router.learning.gain import GainModel, Guess

EVERY = ""
"""the task of all calls, for tasks of which few or none are known"""
TIE = 1e-9
"""equal gains, beyond the ends of a curve, go by the confidence"""
MOST = 1.0
"""the gain to expect of an answer of which nothing is known"""
STEEPEST = 700.0
"""beyond it, `exp` overflows"""


class Example(Struct, frozen=True):
    """One call that both models have answered, labelled."""

    task: str
    """the fingerprint"""
    text: str
    """all that the model reads"""
    weak: float
    strong: float
    """quality of the answers, 0 to 1"""
    has_confidence: bool = False
    score: float | None = None
    """log-odds that the small model gives its own answer; None with `has_confidence`: the lowest"""
    first: float | None = None
    """the same of the first tokens of its answer; None: not known"""
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
    """A call that the fit has not seen: thresholds that hold are found among such."""

    task: str
    gain: float
    """that the answer left to expect"""
    prompt_tokens: int
    """as `rough_tokens` counts"""
    worse: bool
    """the small model's answer was not as good as the fallback's"""


class Usual(Struct, frozen=True, forbid_unknown_fields=True):
    """What is usual in the calls of one task."""

    guess: float
    """mean gain that the prompts alone let expect"""
    gains: Sequence[float] = ()
    """quantiles of what the answers' confidences left to expect, rising"""
    completion_tokens: float | None = None
    """mean of the fallback's answers"""


class Evidence(Struct, frozen=True, forbid_unknown_fields=True):
    """Says what gain to expect. Made by `fit`; msgspec encodes and decodes it."""

    calibration: Calibration = Calibration()
    beginnings: Calibration = Calibration()
    """the same for the first `beginning_tokens` tokens"""
    beginning_tokens: int = 0
    prompts: GainModel = GainModel()
    trust: float = 0.0
    """how much of what the prompt says counts beside the answer's confidence, 0 to 1"""
    trust_before: float = 0.0
    """and how much before there is an answer"""
    tasks: Mapping[str, Usual] = {}

    @classmethod
    def fit(cls, examples: Sequence[Example], beginning_tokens: int = 0) -> Evidence:
        """Learn from labelled calls; those without a confidence teach only what the prompt tells. Seconds.

        Args:
            examples: in any order.
            beginning_tokens: how many tokens `Example.first` is of; 0: of none.

        Raises:
            ValueError: a score is not finite.
        """
        from router.learning.evidence_fit import fit  # noqa: PLC0415 - numpy is only for those who learn

        return fit(examples, beginning_tokens)

    def prior(self, task: str, text: str) -> Prior:
        """Return what is known of the model's answer to a call before it is asked.

        As slow as `GainModel.guess` where the prompt says something, a microsecond where it does not.
        """
        usual = self._usual(task)
        if usual is None:
            return Prior(task)
        beyond = self.prompts.gain(text) - usual.guess if self.trust or self.trust_before else 0.0
        return Prior(task, [gain + self.trust_before * beyond for gain in usual.gains], self.trust * beyond)

    def gain(self, prior: Prior, score: float | None, *, beginning: bool = False) -> float:
        """Return the gain that an answer leaves to expect, about -1 to 1; the surer the answer, the less.

        Args:
            sight: of the call.
            score: of the answer's confidence; None: it has none.
            beginning: the score is of the answer's first `beginning_tokens` tokens.
        """
        if score is None:
            return fmean(prior.likely) if prior.likely else MOST
        surer = 1 + score / (1 + abs(score))
        return self._doubt(prior.task, score, beginning=beginning) + prior.hint - TIE * surer

    def completion_tokens(self, task: str) -> float | None:
        """Return how long the fallback's answers to such calls are; None: not known."""
        usual = self._usual(task)
        return None if usual is None else usual.completion_tokens

    def prompt_gain(self, text: str) -> Guess:
        """Return what the prompt alone lets expect."""
        return self.prompts.guess(text)

    def _doubt(self, task: str, score: float, *, beginning: bool) -> float:
        """Return P(the small model's answer is not as good)."""
        if beginning or self.calibration.route is not None:
            return 1 - (self.beginnings if beginning else self.calibration).probability(task, score)
        # nothing is known of confidences: they are taken at their word
        return 1 / (1 + exp(min(score, STEEPEST)))

    def _usual(self, task: str) -> Usual | None:
        return self.tasks.get(task) or self.tasks.get(EVERY)
