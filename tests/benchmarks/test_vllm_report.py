"""What a report says, and its three files."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import machine
from benchmarks.common.report import Renderer, read, write
from benchmarks.vllm import plot, report
from benchmarks.vllm.samples import ABBA, Pair, Round, Sample, Workload

WHOLE, STREAM = Workload(8, 16, 32, False), Workload(8, 16, 32, True)
RENDERER = Renderer(report.markdown, plot.draw)


def round_of(workload: Workload, *seconds: float) -> Round:
    samples = [
        Sample(
            target,
            each,
            16,
            512,
            0,
            40,
            None if target == "direct" else 0.01,
            0.05,
            0.02,
            (100.0, 110.1234567),
            (10.0,),
        )
        for target, each in zip(ABBA, seconds, strict=True)
    ]
    return Round(workload, tuple(samples))


def example() -> dict[str, Any]:
    rounds = [round_of(work, 5.0, 5.0 + slow, 5.0 + slow, 5.0) for _ in range(4) for work, slow in
              ((WHOLE, 0.05), (STREAM, 0.5))]  # fmt: skip
    pairs = [Pair("direct" if i % 2 else "gateway", 100.0, 101.0 + i % 3 / 10) for i in range(30)]
    about = machine.describe_for_vllm() | {
        "model": "slm",
        "setting": ["how"],
        "parameters": {"rounds": 4, "concurrency": [8]},
    }
    return report.build(about, rounds, pairs)


def test_figures_and_verdicts() -> None:
    found = example()
    whole, streamed = found["throughput"]
    assert whole["ratio"]["value"] == pytest.approx(5 / 5.05)
    assert whole["ratio"]["low"] == pytest.approx(5 / 5.05), "every round is the same"
    assert (whole["verdict"], streamed["verdict"]) == ("met", "missed")
    assert whole["direct_tokens_per_s"] == pytest.approx(102.4)
    assert whole["direct_against_itself"] == [1.0] * 4
    assert len(whole["rounds"]) == 4
    assert whole["rounds"][0][1]["first_ms"] == (100.0, 110.123)
    assert found["first_token"]["added_ms"]["value"] == pytest.approx(1.1)
    assert found["first_token"]["verdict"] == "met"
    assert len(found["first_token"]["pairs"]) == 30


def test_the_text_says_all_of_it() -> None:
    text = report.markdown(example(), picture=False)
    assert "| 8 at a time, whole | 102.4 | 101.4 | 0.990 (0.990 to 0.990) | 1.000 to 1.000 | met |" in text
    assert "| missed |" in text
    assert "The gateway adds +1.10 (" in text
    assert "report.png" not in text
    assert "report.png" in report.markdown(example(), picture=True)


def test_a_machine_that_was_not_quiet_is_reported() -> None:
    assert "quiet machine" not in report.markdown(example(), picture=False)
    loud = [replace(one, samples=tuple(replace(sample, others_busy=0.8) for sample in one.samples))
            for one in [round_of(WHOLE, 5.0, 5.0, 5.0, 5.0)]]  # fmt: skip
    text = report.markdown(report.build(example(), loud, []), picture=False)
    assert "up to 0.8 cores meanwhile: measure again on a quiet machine" in text


def test_without_pairs_there_is_no_word_of_the_first_token() -> None:
    found = report.build(example(), [round_of(WHOLE, 5.0, 5.0, 5.0, 5.0)], [])
    text = report.markdown(found, picture=False)
    assert found["first_token"] is None
    assert "first token" not in text
    assert "1.000 |" in text, "one round has no interval"


def test_three_files_and_the_same_again(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    lines: list[str] = []
    write(example(), tmp_path / "out", RENDERER, lines.append)
    assert (tmp_path / "out/report.png").read_bytes().startswith(b"\x89PNG")
    before = (tmp_path / "out/report.md").read_text()
    write(read(tmp_path / "out"), tmp_path / "out", RENDERER, lines.append)
    assert (tmp_path / "out/report.md").read_text() == before
    assert json.loads((tmp_path / "out/report.json").read_text())["benchmark"] == "vllm"


def test_without_matplotlib_there_is_no_picture_and_a_word_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (tmp_path / "report.png").write_bytes(b"of another run")
    lines: list[str] = []
    write(example(), tmp_path, RENDERER, lines.append)
    assert "needs matplotlib" in lines[0]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.json", "report.md"]


def test_the_machine_in_one_line() -> None:
    line = machine.machine_line(machine.describe_for_vllm())
    assert "cores" in line
    assert "Python 3." in line
    assert "\n" not in line
