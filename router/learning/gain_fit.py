"""Fits a `GainModel`. A separate module, so that only fitting imports numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil, inf, log
from zlib import crc32

import numpy as np

from router.learning.gain import (
    BucketStatistics,
    GainEstimate,
    GainModel,
    Measure,
    TextPrior,
    novelty_features,
    novelty_offsets,
    scale_measure,
    tf_idf,
    weighted_measures,
)
from router.learning.ridge import Floats, Sparse, ridge_path
from router.learning.text import MEASURES, TextFeatures, extract_features

MIN_TEXTS = 20
"""with fewer labelled texts, only the prior is used"""
CORRELATION = 0.1
"""between the prior and the gain, as published: .08 (MMLU) and .11 (GSM8K)"""
MIN_DEVIATION = 0.1
"""lower bound of the standard deviations of measures, gains and the prior"""
FOLDS = 5
PENALTIES = (10.0, 20.0, 40.0, 80.0, inf)
"""candidates; with an infinite penalty all weights are 0, so only the prior and an intercept remain"""
LANCZOS_STEPS = 32
TAIL_SHARE = 0.05
"""the share of the training texts that count as unusual"""


def fit(texts: Sequence[str], gains: Sequence[float]) -> tuple[GainModel, list[GainEstimate]]:
    """See `GainModel.fit_and_estimate`."""
    if len(texts) != len(gains):
        raise ValueError(f"{len(texts)} texts, but {len(gains)} gains")
    if not texts:
        return GainModel(), []
    extracted, y = [extract_features(text) for text in texts], np.array(gains, dtype=np.float64)
    mean, sums = float(y.mean()), np.array([weighted_measures(one) for one in extracted])
    worth = CORRELATION * max(float(y.std()), MIN_DEVIATION)
    prior = TextPrior(float(sums.mean()), max(float(sums.std()), MIN_DEVIATION), worth)
    if len(texts) < MIN_TEXTS:
        return GainModel(mean, prior), [GainEstimate(mean + prior(one), 0.0) for one in extracted]
    n, frequency = len(extracted), Counter(bucket for one in extracted for counts in one[:2] for bucket in counts)
    buckets = {bucket: BucketStatistics(df / n, _idf(df, n), 0.0) for bucket, df in sorted(frequency.items())}
    moments = np.array([one.measures for one in extracted])
    measures = [
        Measure(float(usual), max(float(deviation), MIN_DEVIATION), 0.0)
        for usual, deviation in zip(moments.mean(axis=0), moments.std(axis=0), strict=True)
    ]
    of_prior = mean + np.array([prior(one) for one in extracted])
    weights, learned = _fit_weights(_design_matrix(extracted, buckets, measures), y - of_prior, texts)
    of_buckets, of_measures, offset = np.split(weights, [len(buckets), -1])
    features = np.array([novelty_features(one, buckets, _idf(0, n), own=1 / n) for one in extracted])
    centre, precision, distances = _fit_novelty(features)
    tail = np.sort(distances)[-ceil(TAIL_SHARE * n) :]
    support = np.count_nonzero(tail >= distances[:, None], axis=1) / len(tail)
    model = GainModel(
        mean=mean,
        prior=prior,
        buckets={
            bucket: BucketStatistics(known.share, known.idf, weight)
            for (bucket, known), weight in zip(buckets.items(), of_buckets.tolist(), strict=True)
        },
        unknown_idf=_idf(0, n),
        measures=[m._replace(weight=weight) for m, weight in zip(measures, of_measures.tolist(), strict=True)],
        offset=float(offset[0]),
        centre=centre.tolist(),
        precision=precision.tolist(),
        tail=tail.tolist(),
    )
    return model, [
        GainEstimate(*one) for one in zip((of_prior + support * learned).tolist(), support.tolist(), strict=True)
    ]


def _idf(df: int, n: int) -> float:
    """Return the inverse document frequency, smoothed by one more text that has every bucket."""
    return log((1 + n) / (1 + df)) + 1


def _design_matrix(
    extracted: Sequence[TextFeatures], buckets: dict[int, BucketStatistics], measures: Sequence[Measure]
) -> Sparse:
    column = {bucket: place for place, bucket in enumerate(buckets)}
    of_measures = range(len(buckets), len(buckets) + len(MEASURES))
    rows = []
    for one in extracted:
        values = dict(tf_idf(one, buckets))
        measured = [scale_measure(value, measure) for value, measure in zip(one.measures, measures, strict=True)]
        rows.append(([*(column[bucket] for bucket in values), *of_measures], [*values.values(), *measured]))
    return Sparse(rows, len(buckets) + len(MEASURES))


def _fit_weights(x: Sparse, residual: Floats, texts: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the ridge weights for the penalty with the least out-of-fold error, and its out-of-fold estimates."""
    # sorted by hash, equal texts are adjacent and mostly in one fold, so a text is not estimated from its copy
    order = np.argsort([crc32(text.encode(errors="surrogatepass")) for text in texts], kind="stable")
    fold = np.empty(len(texts), dtype=np.int64)
    fold[order] = np.arange(len(texts)) * FOLDS // len(texts)
    estimates = np.empty((len(PENALTIES), len(texts)))
    for held_out in range(FOLDS):
        out = fold == held_out
        for place, weights in enumerate(ridge_path(x, residual, ~out, PENALTIES, LANCZOS_STEPS)):
            estimates[place, out] = (x.dot(weights[:-1]) + weights[-1])[out]
    best = int(((estimates - residual) ** 2).sum(axis=1).argmin())
    everything = np.ones(len(texts), dtype=np.bool_)
    return ridge_path(x, residual, everything, [PENALTIES[best]], LANCZOS_STEPS)[0], estimates[best]


def _fit_novelty(features: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the centre and inverse covariance of the novelty features, and each text's squared distance."""
    n, width = features.shape
    centre, off = features.mean(axis=0), features - features.mean(axis=0)
    covariance, variances = off.T @ off / n, np.maximum(off.var(axis=0), MIN_DEVIATION**2)
    # shrinkage for few texts: add `width` uncorrelated ones
    covariance = (n * covariance + width * np.diag(variances)) / (n + width)
    precision = np.linalg.inv(covariance)
    offsets = np.array([novelty_offsets(one, centre) for one in features.tolist()])
    distances = np.einsum("ti,ij,tj->t", offsets, precision, offsets)
    # `width` is the mean squared distance of normally distributed texts: no nearer text is novel, even if the training
    # texts are nearly alike
    return centre, precision, np.maximum(distances, width)
