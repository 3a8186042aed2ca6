"""Estimate the gain in quality of asking the strong model from the text alone, before any model is asked.

expected gain = mean + prior(text) + support(text) * learned(text)

`prior`: longer texts with more capitals (names, formulae, statements) gain more. On RouteLLM's published results
(arXiv 2406.18665; APGR, see `benchmarks/routing`) length alone beats most routers. With capitals it is better still, on
both data sets. The weights come from those results; `fit` does not change them.

`learned`: a ridge regression of the residual gain, after the prior, on hashed words, pieces of words and measures of
the text. Few labels change little. The target is the gain (strong - weak), not difficulty: if both models fail, asking
the strong one gains nothing.

`support`: on texts unlike its training data, a router is no better than random, or worse. So `learned` counts only for
texts like the training texts: conformal novelty detection (Laxhammar and Falkman, "Conformal prediction for
distribution-independent anomaly detection", 2010) with the Mahalanobis distance of a text's `novelty_features`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from math import sqrt, tanh
from typing import NamedTuple

from msgspec import Struct

from router.learning.text import MEASURES, TextFeatures, extract_features

PRIOR = {"characters": 1.0, "capitals": 0.5}
"""weights of the logarithms; the signs come from published results, the sizes are round numbers"""
MEASURE_SCALE = 0.1
"""scale of one standard deviation of a measure; the vector of words and that of pieces have norm 1"""
MAX_DEVIATIONS = 3.0
"""measures and the prior are limited to so many standard deviations"""
FAMILIARITY_FEATURES = ("known words", "known pieces", "likeness")
NOVELTY_FEATURES = (*FAMILIARITY_FEATURES, *MEASURES)


class GainEstimate(NamedTuple):
    """The gain estimated from a text."""

    gain: float
    """quality of the strong model's answer less that of the weak one's"""
    support: float
    """weight of `learned`: 0 for a text unlike all training texts, 1 for a typical one"""


class BucketStatistics(NamedTuple):
    """Statistics of a bucket of words or pieces that occurs in the training texts."""

    share: float
    """share of the training texts that have it"""
    idf: float
    weight: float


class Measure(NamedTuple):
    """Statistics of a measure in the training texts."""

    mean: float
    deviation: float
    weight: float


class TextPrior(NamedTuple):
    """Mean and deviation of the weighted sum `PRIOR` in the training texts, and the gain per standard deviation."""

    mean: float = 0.0
    deviation: float = 1.0
    worth: float = 0.01

    def __call__(self, features: TextFeatures) -> float:
        """Return what the prior adds to the mean gain."""
        deviations = (weighted_measures(features) - self.mean) / self.deviation
        return MAX_DEVIATIONS * tanh(deviations / MAX_DEVIATIONS) * self.worth


class GainModel(Struct, frozen=True, forbid_unknown_fields=True):
    """Estimates gains in plain Python: no numpy, no I/O. `fit` makes it; msgspec encodes and decodes it."""

    mean: float = 0.0
    """mean gain of the training texts"""
    prior: TextPrior = TextPrior()
    buckets: Mapping[int, BucketStatistics] = {}
    unknown_idf: float = 1.0
    measures: Sequence[Measure] = ()
    offset: float = 0.0
    centre: Sequence[float] = ()
    precision: Sequence[Sequence[float]] = ()
    """mean (`centre`) and inverse covariance of the training texts' novelty features"""
    tail: Sequence[float] = ()
    """distances of the most unusual training texts from the centre, ascending; empty if nothing was learned"""

    @classmethod
    def fit(cls, texts: Sequence[str], gains: Sequence[float]) -> GainModel:
        """Learn from texts and their gains (strong - weak, -1 to 1), by cross-validation among them; seconds.

        Raises:
            ValueError: the numbers of texts and gains differ.
        """
        return cls.fit_and_estimate(texts, gains)[0]

    @classmethod
    def fit_and_estimate(cls, texts: Sequence[str], gains: Sequence[float]) -> tuple[GainModel, list[GainEstimate]]:
        """Learn as `fit` does. Return also an out-of-fold estimate for each text.

        `Evidence` fits its trust to these estimates. Choosing the penalty computes them in any case.

        Raises:
            ValueError: the numbers of texts and gains differ.
        """
        from router.learning.gain_fit import fit  # noqa: PLC0415 - only fitting imports numpy

        return fit(texts, gains)

    def gain(self, text: str) -> float:
        """Return the expected gain, about -1 to 1."""
        return self.estimate(text).gain

    def estimate(self, text: str) -> GainEstimate:
        """Return gain and support; takes a few hundred microseconds for 1,000 characters, bounded for longer texts."""
        features = extract_features(text)
        support = self._support(features) if self.tail else 0.0
        learned = self._learned(features) if support else 0.0
        return GainEstimate(self.mean + self.prior(features) + support * learned, support)

    def _learned(self, features: TextFeatures) -> float:
        of_buckets = sum(self.buckets[bucket].weight * value for bucket, value in tf_idf(features, self.buckets))
        of_measures = sum(
            measure.weight * scale_measure(value, measure)
            for value, measure in zip(features.measures, self.measures, strict=True)
        )
        return of_buckets + of_measures + self.offset

    def _support(self, features: TextFeatures) -> float:
        off = novelty_offsets(novelty_features(features, self.buckets, self.unknown_idf), self.centre)
        distance = sum(
            one * sum(entry * other for entry, other in zip(row, off, strict=True))
            for one, row in zip(off, self.precision, strict=True)
        )
        return 1 - bisect_left(self.tail, distance) / len(self.tail)


def weighted_measures(features: TextFeatures) -> float:
    """Return the weighted sum of measures that the prior uses."""
    return sum(weight * features.measures[MEASURES.index(name)] for name, weight in PRIOR.items())


def tf_idf(features: TextFeatures, buckets: Mapping[int, BucketStatistics]) -> Iterator[tuple[int, float]]:
    """Yield each known bucket and its value, (1 + ln tf) idf. Words and pieces are each normalised to length 1."""
    for block in (features.words, features.pieces):
        found = [(bucket, tf * buckets[bucket].idf) for bucket, tf in block.items() if bucket in buckets]
        norm = sqrt(sum(value * value for _, value in found))
        for bucket, value in found:
            yield bucket, value / norm


def scale_measure(value: float, measure: Measure) -> float:
    """Return a measure as an input of the regression."""
    deviations = (value - measure.mean) / measure.deviation
    return MEASURE_SCALE * max(-MAX_DEVIATIONS, min(MAX_DEVIATIONS, deviations))


def novelty_features(
    features: TextFeatures, buckets: Mapping[int, BucketStatistics], unknown_idf: float, own: float = 0.0
) -> list[float]:
    """Return the features that show whether a text is like the training texts (shape: NOVELTY_FEATURES).

    Args:
        features: of the text.
        buckets: those of the training texts.
        unknown_idf: the idf of a bucket that no training text has.
        own: the share of one text if the text is a training text, so that it does not count itself; otherwise 0.
    """
    known_words, known_pieces = (
        _known_share(block, buckets, unknown_idf, own) for block in (features.words, features.pieces)
    )
    return [known_words, known_pieces, _similarity(features.words, buckets, own), *features.measures]


def novelty_offsets(features: Sequence[float], centre: Sequence[float]) -> list[float]:
    """Return the offsets from the centre. A text that is more familiar than the mean is not novel."""
    offsets = [value - mean for value, mean in zip(features, centre, strict=True)]
    return [*(min(0.0, one) for one in offsets[: len(FAMILIARITY_FEATURES)]), *offsets[len(FAMILIARITY_FEATURES) :]]


def _known_share(
    block: Mapping[int, float], buckets: Mapping[int, BucketStatistics], unknown_idf: float, own: float
) -> float:
    """Return the share of the text, weighted by idf, that occurs in training texts."""
    known = unknown = 0.0
    for bucket, tf in block.items():
        entry = buckets.get(bucket)
        if entry is not None and entry.share > own:
            known += tf * entry.idf
        else:
            unknown += tf * unknown_idf
    return known / (known + unknown) if block else 1.0


def _similarity(words: Mapping[int, float], buckets: Mapping[int, BucketStatistics], own: float) -> float:
    """Return the projection of the text's word vector on the words' shares of training texts."""
    norm = sqrt(sum(tf * tf for tf in words.values())) or 1.0
    return sum(tf * (buckets[bucket].share - own) for bucket, tf in words.items() if bucket in buckets) / norm
