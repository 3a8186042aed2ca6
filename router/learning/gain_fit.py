"""Fits a `GainModel`. Apart from it, so that only who learns imports numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil, inf, log
from zlib import crc32

import numpy as np

from router.learning.gain import (
    GainModel,
    Guess,
    Known,
    Measure,
    TextPrior,
    outline,
    prior_of,
    scaled,
    strangeness,
    tf_idf,
)
from router.learning.ridge import Floats, Sparse, path
from router.learning.text import MEASURES, Seen, see

FEWEST = 20
"""with fewer labelled texts, nothing is learned"""
CORRELATION = 0.1
"""between the prior and the gain, as published: .08 (MMLU) and .11 (GSM8K)"""
LEAST_DEVIATION = 0.1
"""of the measures, and of gains that happen to be all the same"""
FOLDS = 5
PENALTIES = (10.0, 20.0, 40.0, 80.0, inf)
"""the last: what is left over cannot be told from these texts, and the prior speaks alone"""
STEPS = 32
STRANGE = 0.05
"""the share of the texts learned from that are called strange"""


def fit(texts: Sequence[str], gains: Sequence[float]) -> tuple[GainModel, list[Guess]]:
    """See `GainModel.fit_and_guess`."""
    if len(texts) != len(gains):
        raise ValueError(f"{len(texts)} texts, but {len(gains)} gains")
    if not texts:
        return GainModel(), []
    seen, y = [see(text) for text in texts], np.array(gains, dtype=np.float64)
    mean, sums = float(y.mean()), np.array([prior_of(one) for one in seen])
    worth = CORRELATION * max(float(y.std()), LEAST_DEVIATION)
    prior = TextPrior(float(sums.mean()), max(float(sums.std()), LEAST_DEVIATION), worth)
    if len(texts) < FEWEST:
        return GainModel(mean, prior), [Guess(mean + prior(one), 0.0) for one in seen]
    n, frequency = len(seen), Counter(bucket for one in seen for counts in one[:2] for bucket in counts)
    buckets = {bucket: Known(df / n, _idf(df, n), 0.0) for bucket, df in sorted(frequency.items())}
    moments = np.array([one.measures for one in seen])
    measures = [
        Measure(float(usual), max(float(deviation), LEAST_DEVIATION), 0.0)
        for usual, deviation in zip(moments.mean(axis=0), moments.std(axis=0), strict=True)
    ]
    of_prior = mean + np.array([prior(one) for one in seen])
    weights, learned = _weights(_sparse(seen, buckets, measures), y - of_prior, texts)
    of_buckets, of_measures, offset = np.split(weights, [len(buckets), -1])
    outlines = np.array([outline(one, buckets, _idf(0, n), own=1 / n) for one in seen])
    centre, precision, distances = _usual(outlines)
    tail = np.sort(distances)[-ceil(STRANGE * n) :]
    support = np.count_nonzero(tail >= distances[:, None], axis=1) / len(tail)
    model = GainModel(
        mean=mean,
        prior=prior,
        buckets={
            bucket: Known(known.share, known.idf, weight)
            for (bucket, known), weight in zip(buckets.items(), of_buckets.tolist(), strict=True)
        },
        unknown_idf=_idf(0, n),
        measures=[m._replace(weight=weight) for m, weight in zip(measures, of_measures.tolist(), strict=True)],
        offset=float(offset[0]),
        centre=centre.tolist(),
        precision=precision.tolist(),
        tail=tail.tolist(),
    )
    return model, [Guess(*one) for one in zip((of_prior + support * learned).tolist(), support.tolist(), strict=True)]


def _idf(df: int, n: int) -> float:
    """Return the inverse document frequency, smoothed as if one more text had every bucket."""
    return log((1 + n) / (1 + df)) + 1


def _sparse(seen: Sequence[Seen], buckets: dict[int, Known], measures: Sequence[Measure]) -> Sparse:
    column = {bucket: place for place, bucket in enumerate(buckets)}
    of_measures = range(len(buckets), len(buckets) + len(MEASURES))
    rows = []
    for one in seen:
        values = dict(tf_idf(one, buckets))
        measured = [scaled(value, measure) for value, measure in zip(one.measures, measures, strict=True)]
        rows.append(([*(column[bucket] for bucket in values), *of_measures], [*values.values(), *measured]))
    return Sparse(rows, len(buckets) + len(MEASURES))


def _weights(x: Sparse, left_over: Floats, texts: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the ridge weights for the penalty whose guesses for held-out texts are nearest, and those guesses."""
    # equal texts lie together, and so in one fold: none is guessed from itself
    order = np.argsort([crc32(text.encode(errors="surrogatepass")) for text in texts], kind="stable")
    fold = np.empty(len(texts), dtype=np.int64)
    fold[order] = np.arange(len(texts)) * FOLDS // len(texts)
    guesses = np.empty((len(PENALTIES), len(texts)))
    for held_out in range(FOLDS):
        out = fold == held_out
        for place, weights in enumerate(path(x, left_over, ~out, PENALTIES, STEPS)):
            guesses[place, out] = (x.dot(weights[:-1]) + weights[-1])[out]
    best = int(((guesses - left_over) ** 2).sum(axis=1).argmin())
    return path(x, left_over, np.ones(len(texts), dtype=np.bool_), [PENALTIES[best]], STEPS)[0], guesses[best]


def _usual(outlines: Floats) -> tuple[Floats, Floats, Floats]:
    """Return centre and inverse covariance of the outlines, and the squared distance of each."""
    n, width = outlines.shape
    centre, off = outlines.mean(axis=0), outlines - outlines.mean(axis=0)
    covariance, variances = off.T @ off / n, np.maximum(off.var(axis=0), LEAST_DEVIATION**2)
    # few texts: as if there were, beside them, as many uncorrelated ones as there are values
    covariance = (n * covariance + width * np.diag(variances)) / (n + width)
    precision = np.linalg.inv(covariance)
    strange = np.array([strangeness(one, centre) for one in outlines.tolist()])
    distances = np.einsum("ti,ij,tj->t", strange, precision, strange)
    # the width is the mean of normal ones: no nearer text is strange, however alike those learned from are
    return centre, precision, np.maximum(distances, width)
