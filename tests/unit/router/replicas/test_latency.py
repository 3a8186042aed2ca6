from __future__ import annotations

import pytest

from router.replicas.latency import MAX_AGE_S, LatencyAverages


def test_the_mean_moves_towards_the_newest() -> None:
    waits = LatencyAverages()
    for at, seconds in enumerate((1.0, 2.0, 2.0)):
        waits.note("slm", seconds, float(at))
    assert waits.recent(3.0) == {"slm": pytest.approx(1.19)}


def test_what_was_measured_long_ago_is_forgotten() -> None:
    waits = LatencyAverages()
    waits.note("slm", 60.0, 0.0)
    waits.note("llm", 1.0, MAX_AGE_S)
    assert waits.recent(MAX_AGE_S + 1) == {"llm": 1.0}
    waits.note("slm", 2.0, MAX_AGE_S + 2)
    assert waits.recent(MAX_AGE_S + 2)["slm"] == 2.0, "a cold start does not weigh for ever"
