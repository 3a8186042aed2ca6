"""What a policy is better by: in one run, and on a whole load over all pairs of models that could serve it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np

from benchmarks.routing.metrics import Floats, spread

Drawn = Mapping[str, Mapping[str, Floats]]
"""policy -> figure -> its values on the bootstrap's samples"""
Found = tuple[dict[str, Any], Drawn]
"""a run's figures, and what was drawn for them"""

COMPARED = ("apgr", "usd95")


def differences(drawn: Drawn) -> dict[str, Any]:
    """Return intervals of what policies are better by, on the same samples."""
    pairs = [("classifier", "length")]
    if "cascade" in drawn:
        pairs += [("cascade", "raw_cascade"), ("cascade", "classifier")]
    return {
        f"{one} - {other}, {key}": spread(drawn[one][key] - drawn[other][key])
        for one, other in pairs
        for key in COMPARED
    }


def loads(runs: Sequence[Found]) -> list[dict[str, Any]]:
    """Return for each load with several priced cascades the mean figures over its pairs of models.

    And over those without the weakest model, which may be hopeless. The pairs that are put together answer the same
    calls, drawn in the same samples: the differences stay paired.
    """
    by_load: dict[tuple[str, int], list[Found]] = {}
    for found, drawn in runs:
        known = found["policies"].get("cascade", {})
        if found["crossed"] and all(known.get(key) is not None for key in COMPARED):
            by_load.setdefault((found["test"], found["digest"]), []).append((found, drawn))
    return [mean for (name, _), of in by_load.items() for mean in _means(name, of)]


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
