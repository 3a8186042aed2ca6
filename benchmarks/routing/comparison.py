"""Compares policies: in one run, and on a dataset as the mean over all pairs of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.routing.metrics import Floats, spread

Drawn = Mapping[str, Mapping[str, Floats]]
"""policy -> figure -> its values in the bootstrap samples"""
Found = tuple[dict[str, Any], Drawn]
"""a run's figures, and their bootstrap samples"""

COMPARED = ("apgr", "usd95")


def differences(drawn: Drawn) -> dict[str, Any]:
    """Return the intervals of the differences between policies, paired by sample."""
    pairs = [("classifier", "length")]
    if "cascade" in drawn:
        pairs += [("cascade", "raw_cascade"), ("cascade", "classifier")]
    return {
        f"{one} - {other}, {key}": spread(drawn[one][key] - drawn[other][key])
        for one, other in pairs
        for key in COMPARED
    }


def dataset_means(runs: Sequence[Found]) -> list[dict[str, Any]]:
    """Return the mean figures over the pairs of models, for each dataset with several priced cascades.

    Also return the means without the weakest model, which may be useless. All pairs answer the same calls, which are
    drawn in the same samples, so the differences stay paired.
    """
    by_dataset: dict[tuple[str, int], list[Found]] = {}
    for found, drawn in runs:
        known = found["policies"].get("cascade", {})
        if found["crossed"] and all(known.get(key) is not None for key in COMPARED):
            by_dataset.setdefault((found["test"], found["digest"]), []).append((found, drawn))
    return [mean for (name, _), of in by_dataset.items() for mean in _means(name, of)]


def _means(name: str, of: Sequence[Found]) -> Iterator[dict[str, Any]]:
    weakest = min((found for found, _ in of), key=lambda found: found["quality"][0])["weak"]
    others = [(found, drawn) for found, drawn in of if found["weak"] != weakest]
    for without, chosen in ((None, of), (weakest, others)):
        if len(chosen) > 1:
            yield {"test": name, "without": without, "pairs": len(chosen), **_mean(chosen)}


def _mean(of: Sequence[Found]) -> dict[str, Any]:
    policies = {
        name: {key: fmean(found["policies"][name][key] for found, _ in of) for key in COMPARED}
        for name in of[0][0]["policies"]
    }
    drawn = {
        name: {key: np.mean([values[name][key] for _, values in of], axis=0) for key in COMPARED} for name in of[0][1]
    }
    return {"policies": policies, "differences": differences(drawn)}
