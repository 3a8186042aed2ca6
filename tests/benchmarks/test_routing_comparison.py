"""What is said of a mean that several pairs of models could serve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.routing.comparison import Found, dataset_means


def run(weak: str, quality: float, usd: dict[str, float], drawn: dict[str, list[float]], **other: Any) -> Found:
    """Return a run in which only dollars differ between the policies."""
    names = ("length", "classifier", "raw_cascade", "cascade")
    found = {
        "test": "mixed",
        "digest": 7,
        "crossed": True,
        "weak": weak,
        "quality": [quality, 0.9],
        "policies": {name: {"apgr": 0.5, "usd95": usd.get(name, 1.0)} for name in names},
    }
    samples = {name: {"apgr": np.full(3, 0.5), "usd95": np.array(drawn.get(name, [1.0] * 3))} for name in names}
    return found | other, samples


PAIRS = [
    run("tiny", 0.3, {"cascade": 0.4}, {"cascade": [0.3, 0.4, 0.5]}),
    run("small", 0.6, {"cascade": 0.8}, {"cascade": [0.9, 0.8, 0.7]}),
    run("small", 0.6, {"cascade": 0.9}, {"cascade": [0.9, 0.9, 0.9]}),
]


def test_the_mean_over_the_pairs_is_paired_by_sample() -> None:
    whole, rest = dataset_means(PAIRS)
    assert (whole["without"], whole["pairs"], rest["without"], rest["pairs"]) == (None, 3, "tiny", 2)
    assert whole["policies"]["cascade"]["usd95"] == pytest.approx(0.7)
    # the samples of the first two pairs move against one another: no spread is left
    assert whole["differences"]["cascade - raw_cascade, usd95"] == pytest.approx((-0.3, -0.3))
    low, high = rest["differences"]["cascade - raw_cascade, usd95"]
    assert -0.2 <= low < high <= -0.1


@pytest.mark.parametrize(
    "without",
    [{"crossed": False}, {"test": "another"}, {"digest": 8}, {"policies": {"cascade": {"apgr": 0.5, "usd95": None}}}],
)
def test_what_is_no_pair_of_a_load_is_left_out(without: dict[str, Any]) -> None:
    other = run("small", 0.6, {}, {}, **without)
    assert [(mean["test"], mean["pairs"]) for mean in dataset_means([PAIRS[0], PAIRS[1], other])] == [("mixed", 2)]


def test_a_single_pair_is_not_told_twice() -> None:
    assert dataset_means(PAIRS[:1]) == []
