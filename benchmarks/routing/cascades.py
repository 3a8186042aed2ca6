"""Cascades: the small model answers first, and its confidence decides. One uses it as it is, one as the gateway does.

A cascade knows what a live gateway knows of a call: the prompt, the confidence of the small model's answer, and the
cost of such calls. Its estimates come from the gateway's own `Evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean

from benchmarks.routing.data import Row
from benchmarks.routing.metrics import Policy, Rank
from router.decision import Prior, log_odds
from router.judge.features import MIN_LOGPROB
from router.learning.calibration import MIN_TASK_CALLS
from router.learning.evidence import ALL_TASKS, Evidence, Example
from router.learning.fingerprint import fingerprint
from router.learning.value_of_information import skip_threshold
from router.messages.chat import CHAT
from router.types import ChatCall

DEAREST = 0.95
"""a small model that costs more than this share of the large one counts as if it cost this share: asking it is almost
never worth it, but if it is, the gain still decides"""


def raw_cascade(train: Sequence[Row]) -> Policy:
    """Return the cascade that uses the confidence as it is, without learning."""
    return lambda row: -(MIN_LOGPROB if row.logconf is None else log_odds(row.logconf))


def cascade(train: Sequence[Row]) -> Cascade:
    """Fit a cascade on labelled calls; from calls without a confidence, it only learns about prompts."""
    return Cascade.fit(train)


def task(row: Row) -> str:
    """Return the name of the call's task, as the gateway finds it."""
    system = [{"role": "system", "content": row.system}] if row.system else []
    body = {"messages": [*system, {"role": "user", "content": row.prompt}]}
    return fingerprint(ChatCall(CHAT, "auto", body, fields={}, size=0))


def score(row: Row) -> float | None:
    """Return the log-odds of the small model's confidence in its answer; None: unknown."""
    if not row.has_confidence:
        return None
    return MIN_LOGPROB if row.logconf is None else log_odds(row.logconf)


@dataclass(frozen=True, slots=True)
class Cascade:
    """A fitted cascade with two orders: `calls` saves calls of the large model, calling the object saves dollars."""

    evidence: Evidence
    prices: Mapping[str, _Prices]
    """empty if not all calls have one"""

    @classmethod
    def fit(cls, train: Sequence[Row]) -> Cascade:
        """See `cascade`."""
        examples = [Example(task(row), row.text, row.weak, row.strong, row.has_confidence, score(row)) for row in train]
        by_task: dict[str, list[Row]] = {}
        for row, example in zip(train, examples, strict=True):
            by_task.setdefault(example.task, []).append(row)
        groups = {name: rows for name, rows in by_task.items() if len(rows) >= MIN_TASK_CALLS} | {
            ALL_TASKS: list(train)
        }
        priced = bool(train) and all(row.weak_usd is not None and row.strong_usd for row in train)
        prices = {name: _Prices.fit(rows) for name, rows in groups.items()} if priced else {}
        return cls(Evidence.fit(examples), prices)

    def calls(self, row: Row) -> Rank:
        """Rank by gain, which saves calls of the large model; asking the small model costs none of them."""
        return Rank(self._gain(row, self.evidence.prior(task(row), row.text)))

    def __call__(self, row: Row) -> Rank:
        """Rank by gain per dollar, and skip the small model if its answer is not worth its price."""
        prior = self.evidence.prior(task(row), row.text)
        gain = self._gain(row, prior)
        prices = self._prices(prior.task)
        if prices is None:
            return Rank(gain)
        usd = prices.strong_usd(row.text)
        skip = skip_threshold(prior.likely, min(prices.ratio, DEAREST)) / usd if prior.likely else -inf
        return Rank(gain / usd, skip)

    def unseen(self, row: Row, gain: float) -> float:
        """Rank by gain per dollar, with a gain that was estimated before there is an answer."""
        prices = self._prices(task(row))
        return gain if prices is None else gain / prices.strong_usd(row.text)

    def _gain(self, row: Row, prior: Prior) -> float:
        return self.evidence.gain(prior, score(row))

    def _prices(self, name: str) -> _Prices | None:
        return self.prices.get(name) or self.prices.get(ALL_TASKS)


@dataclass(frozen=True, slots=True)
class _Prices:
    """The expected cost of a task's calls: a linear function of the prompt's length."""

    base_usd: float
    usd_per_char: float
    least_usd: float
    ratio: float
    """the small model's cost divided by the large model's"""

    @classmethod
    def fit(cls, calls: Sequence[Row]) -> _Prices:
        lengths, usd = [float(len(row.text)) for row in calls], [row.strong_usd or 0.0 for row in calls]
        slope = max(0.0, _slope(lengths, usd))
        base = fmean(usd) - slope * fmean(lengths)
        return cls(base, slope, min(usd), sum(row.weak_usd or 0.0 for row in calls) / sum(usd))

    def strong_usd(self, text: str) -> float:
        """Return the expected cost of the large model's answer."""
        return max(self.least_usd, self.base_usd + self.usd_per_char * len(text))


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the slope of y over x by least squares; 0 if x is constant."""
    middle, mean = fmean(x), fmean(y)
    spread = sum((one - middle) ** 2 for one in x)
    return sum((one - middle) * (other - mean) for one, other in zip(x, y, strict=True)) / spread if spread else 0.0
