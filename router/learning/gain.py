"""What quality is gained by asking the strong model, guessed from the text alone, before any model is asked.

expected gain = mean + prior(text) + support(text) * learned(text)

`prior`: longer texts with more capitals (names, formulae, statements) gain more. On RouteLLM's published results
(arXiv 2406.18665; APGR, see `benchmarks/routing`) length alone beats most routers; with capitals it is better
still, on both of its sets: that is where its form comes from. Nothing of it is fitted to what `fit` is given.

`learned`: a ridge regression on hashed words, pieces of words and measures of the text of what the prior leaves
over of the gain, so that few labels change little. The gain (strong - weak) is the target, not difficulty: what both
models fail at gains nothing.

`support`: a router asked about what it has not learned from falls to random or below. So what was learned counts only
for texts like those that it was learned from: conformal novelty detection (Laxhammar and Falkman, "Conformal prediction
for distribution-independent anomaly detection", 2010) with the Mahalanobis distance of a text's `outline`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt, tanh
from typing import NamedTuple

from msgspec import Struct

from router.learning.text import MEASURES, Seen, see

PRIOR = {"characters": 1.0, "capitals": 0.5}
"""weights of the logarithms; the direction is what was published, the size is a round number"""
MEASURE_SCALE = 0.1
"""of a standard deviation of a measure, beside 1 for all words together and 1 for all pieces"""
FURTHEST = 3.0
"""a measure, and the prior, count at most so many standard deviations"""
FAMILIAR = ("known words", "known pieces", "likeness")
OUTLINE = (*FAMILIAR, *MEASURES)


class Guess(NamedTuple):
    """What a text lets expect."""

    gain: float
    """quality of the strong model's answer less that of the weak one's"""
    support: float
    """0: nothing was learned for such texts, the prior speaks alone; 1: they are usual ones"""


class Known(NamedTuple):
    """A bucket of words, or of pieces, that occurs in the texts learned from."""

    share: float
    """of those texts, how many have it"""
    idf: float
    weight: float


class Measure(NamedTuple):
    """A measure as it was in the texts learned from."""

    mean: float
    deviation: float
    weight: float


class TextPrior(NamedTuple):
    """The weighted sum of `PRIOR` in the texts learned from, and the gain that a standard deviation of it is worth."""

    mean: float = 0.0
    deviation: float = 1.0
    worth: float = 0.01

    def __call__(self, seen: Seen) -> float:
        """Return what the prior adds to the mean gain."""
        deviations = (prior_of(seen) - self.mean) / self.deviation
        return FURTHEST * tanh(deviations / FURTHEST) * self.worth


class GainModel(Struct, frozen=True, forbid_unknown_fields=True):
    """Guesses gains. Made by `fit`; msgspec encodes and decodes it. Guessing is plain Python: no numpy, no I/O."""

    mean: float = 0.0
    """gain over all that was learned from"""
    prior: TextPrior = TextPrior()
    buckets: Mapping[int, Known] = {}
    unknown_idf: float = 1.0
    measures: Sequence[Measure] = ()
    offset: float = 0.0
    centre: Sequence[float] = ()
    precision: Sequence[Sequence[float]] = ()
    """of the outlines learned from: mean and inverse covariance"""
    tail: Sequence[float] = ()
    """distances from the centre of the few strangest texts learned from, rising; empty: nothing was learned"""

    @classmethod
    def fit(cls, texts: Sequence[str], gains: Sequence[float]) -> GainModel:
        """Learn from texts and their gains (strong - weak, -1 to 1), by cross-validation among them; seconds.

        Raises:
            ValueError: there are more of one than of the other.
        """
        return cls.fit_and_guess(texts, gains)[0]

    @classmethod
    def fit_and_guess(cls, texts: Sequence[str], gains: Sequence[float]) -> tuple[GainModel, list[Guess]]:
        """Learn as `fit` does; return also what is guessed of each text by those who have not learned from it.

        Whoever learns what guesses are worth needs the latter, and they are made in any case: to choose the penalty.

        Raises:
            ValueError: there are more of one than of the other.
        """
        from router.learning.gain_fit import fit  # noqa: PLC0415 - numpy is only for those who learn

        return fit(texts, gains)

    def gain(self, text: str) -> float:
        """Return the expected gain, about -1 to 1."""
        return self.guess(text).gain

    def guess(self, text: str) -> Guess:
        """Return both; a few hundred microseconds for a thousand characters, and bounded for any number of them."""
        seen = see(text)
        support = self._support(seen) if self.tail else 0.0
        learned = self._learned(seen) if support else 0.0
        return Guess(self.mean + self.prior(seen) + support * learned, support)

    def _learned(self, seen: Seen) -> float:
        of_buckets = sum(self.buckets[bucket].weight * value for bucket, value in tf_idf(seen, self.buckets))
        of_measures = sum(
            measure.weight * scaled(value, measure) for value, measure in zip(seen.measures, self.measures, strict=True)
        )
        return of_buckets + of_measures + self.offset

    def _support(self, seen: Seen) -> float:
        off = strangeness(outline(seen, self.buckets, self.unknown_idf), self.centre)
        distance = sum(
            one * sum(entry * other for entry, other in zip(row, off, strict=True))
            for one, row in zip(off, self.precision, strict=True)
        )
        return 1 - bisect_left(self.tail, distance) / len(self.tail)


def prior_of(seen: Seen) -> float:
    """Return the weighted sum of the measures that the prior is made of."""
    return sum(weight * seen.measures[MEASURES.index(name)] for name, weight in PRIOR.items())


def tf_idf(seen: Seen, buckets: Mapping[int, Known]) -> Iterator[tuple[int, float]]:
    """Yield each known bucket and its value, (1 + ln tf) idf; the words' squares sum to 1, and the pieces' to 1."""
    for block in (seen.words, seen.pieces):
        found = [(bucket, tf * buckets[bucket].idf) for bucket, tf in block.items() if bucket in buckets]
        norm = sqrt(sum(value * value for _, value in found))
        for bucket, value in found:
            yield bucket, value / norm


def scaled(value: float, measure: Measure) -> float:
    """Return a measure as the regression sees it."""
    deviations = (value - measure.mean) / measure.deviation
    return MEASURE_SCALE * max(-FURTHEST, min(FURTHEST, deviations))


def outline(seen: Seen, buckets: Mapping[int, Known], unknown_idf: float, own: float = 0.0) -> list[float]:
    """Return what tells whether a text is like those learned from (shape: OUTLINE).

    Args:
        seen: the text.
        buckets: those learned from.
        unknown_idf: of a bucket that none of them has.
        own: the share of one text where it is one of them: it must not vouch for itself.
    """
    known_words, known_pieces = (_known(block, buckets, unknown_idf, own) for block in (seen.words, seen.pieces))
    return [known_words, known_pieces, _likeness(seen.words, buckets, own), *seen.measures]


def strangeness(outlined: Sequence[float], centre: Sequence[float]) -> list[float]:
    """Return how far an outline is off the centre. To be more familiar than usual is not strange."""
    off = [value - usual for value, usual in zip(outlined, centre, strict=True)]
    return [*(min(0.0, one) for one in off[: len(FAMILIAR)]), *off[len(FAMILIAR) :]]


def _known(block: Mapping[int, float], buckets: Mapping[int, Known], unknown_idf: float, own: float) -> float:
    """Return the share of the text, rare buckets weighing more, that occurs in others."""
    known = unknown = 0.0
    for bucket, tf in block.items():
        entry = buckets.get(bucket)
        if entry is not None and entry.share > own:
            known += tf * entry.idf
        else:
            unknown += tf * unknown_idf
    return known / (known + unknown) if block else 1.0


def _likeness(words: Mapping[int, float], buckets: Mapping[int, Known], own: float) -> float:
    """Return how much of what most texts have this one has: its projection on the shares of all words."""
    norm = sqrt(sum(tf * tf for tf in words.values())) or 1.0
    return sum(tf * (buckets[bucket].share - own) for bucket, tf in words.items() if bucket in buckets) / norm
