from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.swap import __main__ as swap
from benchmarks.swap.measure import figures
from benchmarks.swap.plot import spans
from benchmarks.swap.report import faults, markdown
from tests.support.standin_vllm import Event, most_loaded, read_events


def row(model: str = "a", **fields: Any) -> dict[str, Any]:
    return {"model": model, "answered_by": model, "started": 0.0, "ended": 2.0, "stream": False, "error": ""} | fields


def sample(at: float, *loaded: str) -> dict[str, Any]:
    return {"at": at, "phases": {name: "loaded" if name in loaded else "unloaded" for name in "ab"}, "waiting": {}}


COUNTED = {
    'smallfirst_model_unloads_total{model="a",reason="swap"}': 2.0,
    'smallfirst_model_unloads_total{model="a",reason="idle"}': 5.0,
    'smallfirst_model_loads_total{model="a"}': 3.0,
    'smallfirst_model_loads_total{model="b"}': 1.0,
    'smallfirst_model_wait_seconds_count{model="a"}': 4.0,
    'smallfirst_model_wait_seconds_sum{model="a"}': 10.0,
    "smallfirst_requests_in_flight": 0.0,
}
OPTIONS = {"models": 2, "keep": 1, "requests": 2, "concurrency": 2, "max_tokens": 4, "turn_s": 1.0, "workers": 1}


def report(*rows: dict[str, Any], counted: dict[str, float] = COUNTED, samples: Any = None) -> dict[str, Any]:
    samples = samples or [sample(0.0), sample(1.0, "a"), sample(2.0, "b")]
    found = figures(rows, samples, counted)
    return {"options": OPTIONS, "engine": "stand-ins", "figures": found, "requests": list(rows), "samples": samples}


def test_the_figures() -> None:
    found = report(row(), row("b"))["figures"]
    assert (found["answered"], found["swaps"], found["loads"], found["most_loaded"]) == (2, 2.0, 4.0, 1)
    assert (found["waited"], found["waited_s"], found["in_flight"]) == (4.0, 10.0, 0.0)
    assert list(faults(report(row(), row("b")))) == []


def test_what_is_not_as_it_must_be_is_named() -> None:
    both = [sample(0.0, "a", "b")]
    counted = COUNTED | {"smallfirst_requests_in_flight": 1.0}
    wrong = report(row(error="status 503"), row(answered_by="b"), counted=counted, samples=both)
    assert list(faults(wrong)) == [
        "1 requests were not answered: status 503",
        "1 answers came from another model",
        "still in flight, on replicas, waiting: (1.0, 0, 0)",
        "2 models were loaded at the same time",
    ]


def test_the_phases_of_a_model_are_spans() -> None:
    samples = [(0.0, "unloaded"), (1.0, "loading"), (1.5, "loading"), (2.0, "loaded"), (3.0, "loaded")]
    assert list(spans(samples)) == [("unloaded", 0.0, 1.0), ("loading", 1.0, 2.0), ("loaded", 2.0, 3.0)]


def test_the_stand_ins_tell_what_was_loaded_when(tmp_path: Path) -> None:
    file = tmp_path / "events"
    assert read_events(file) == []
    file.write_text("2.0 b up\n1.0 a up\n3.0 a down 2\n4.0 c awake\n")
    events = read_events(file)
    assert events[0] == Event(1.0, "a", "up")
    assert events[2].what == "down 2", "it was busy"
    assert most_loaded(events) == 3, "what was stopped while it was busy does not count as unloaded"


def test_as_many_places_as_models_are_refused() -> None:
    with pytest.raises(SystemExit):
        swap.parse(["--keep", "3"])


def test_a_short_run_with_stand_ins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--stand-in", "--models=2", "--keep=1", "--requests=24", "--concurrency=6", "--turn-s=0.3")
    assert swap.main([*options, "--load-s=0.1", "--max-tokens=2", f"--out={tmp_path}"]) == 0
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["figures"]["answered"] == 24
    assert written["figures"]["swaps"] >= 1
    assert "| requests answered | 24 of 24 |" in markdown(written, picture=False)
    assert swap.main([*options, "--redraw", f"--out={tmp_path}"]) == 0
