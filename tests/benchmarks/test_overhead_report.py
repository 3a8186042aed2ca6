"""From rounds to figures, in numbers that can be checked by hand."""

from __future__ import annotations

import json

import pytest

from benchmarks.common.plot import NoMatplotlib
from benchmarks.overhead import plot
from benchmarks.overhead.measure import Sample, percentile
from benchmarks.overhead.report import Spread, as_json, as_markdown, figures

ABOUT = {
    "date": "2026-01-01",
    "revision": "abc",
    "machine": {"cpu": "a CPU", "cores": 2, "kernel": "Linux 6", "python": "3.11"},
}


def sample(cpu_us: float | None, p50_ms: float = 1.0, p99_ms: float = 2.0, wall_s: float = 0.5) -> Sample:
    return Sample(100, wall_s, cpu_us, p50_ms, p99_ms, None)


ROUNDS = {
    "direct": [sample(None, 1.0, 2.0), sample(None, 2.0, 5.0), sample(None, 3.0, 3.0)],
    "passthrough": [sample(100), sample(200), sample(300)],
    "smallfirst": [sample(300, 1.5, 3.0), sample(400, 2.1, 7.0), sample(1500, 3.3, 9.0, 0.25)],
    "other": [sample(None), sample(None), sample(None)],
}


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 2), (51, 3), (99, 4), (100, 4), (25, 1), (0, 1)]
)  # fmt: skip
def test_percentile_is_a_value_that_was_measured(percent, expected):
    assert percentile([4, 1, 3, 2], percent) == expected


def test_each_round_is_compared_with_the_same_round():
    found = figures(ROUNDS, "smallfirst")
    assert found.cpu_us == Spread(400, 300, 1500)
    assert found.cpu_ratio == Spread(3, 2, 5)  # and not 400 / 200, which has no round in common
    assert found.added_p50_ms is not None
    assert found.added_p50_ms.median == pytest.approx(0.3)
    assert found.added_p99_ms == Spread(2, 1, 6)
    assert found.per_s == Spread(200, 200, 400)


def test_what_was_not_measured_has_no_figure():
    found = figures(ROUNDS, "other")
    assert found.cpu_us is found.cpu_ratio is found.first_p50_ms is None
    assert figures(ROUNDS, "direct").added_p50_ms is None
    alone = figures({"smallfirst": ROUNDS["smallfirst"]}, "smallfirst")
    assert alone.cpu_ratio is alone.added_p50_ms is None


def test_json_holds_every_round_and_what_was_asked():
    report = json.loads(json.dumps(as_json({"whole-c8": ROUNDS}, ABOUT)))
    assert report["revision"] == "abc"
    [scenario] = report["scenarios"]
    assert scenario["asked"]["connections"] == 8
    assert [row["cpu_us"] for row in scenario["targets"]["smallfirst"]["rounds"]] == [300, 400, 1500]
    assert scenario["targets"]["smallfirst"]["summary"]["cpu_ratio"] == {"median": 3, "low": 2, "high": 5}


def test_tables_show_median_and_spread():
    lines = as_markdown({"whole-c8": ROUNDS, "whole-c1": ROUNDS}, ABOUT).splitlines()
    assert "| smallfirst | 400 (300-1,500) | 0.30 (0.10-0.50) |" in lines
    assert "| other |  | -1.00 (-2.00-0.00) |" in lines
    [row] = [line for line in lines if line.startswith("| whole-c8 | smallfirst |")]
    assert row.startswith("| whole-c8 | smallfirst | 400 (300-1,500) | 3.00 (2.00-5.00) | 200 (200-400) |")
    assert not any(line.startswith("| direct |") for line in lines)  # it adds nothing to itself


def test_the_picture_is_drawn_of_headline_scenarios(tmp_path):
    pytest.importorskip("matplotlib")
    path = tmp_path / "report.png"
    assert plot.draw({"whole-c8": ROUNDS, "whole-c1": ROUNDS}, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert not plot.draw({"json-c8": ROUNDS}, tmp_path / "none.png")


def test_without_matplotlib_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(NoMatplotlib, match="uv pip install matplotlib"):
        plot.draw({"whole-c8": ROUNDS}, tmp_path / "report.png")
