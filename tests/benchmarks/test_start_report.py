"""What the report of the starts says, and which processes are an engine's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.common.gateway import command_words, is_guard
from benchmarks.start import plot, report
from benchmarks.start.measure import Start

ABOUT = {
    "date": "2026-01-01T00:00:00+00:00",
    "machine": {"cpu": "a CPU", "cores": 2, "kernel": "Linux", "python": "3.11"},
    "revision": "abc",
}


def built(warm_s: float, crash_s: float) -> dict[str, object]:
    starts = [Start("cold", 80.0 + number, 60.0, 3.5, 90.0) for number in range(3)]
    starts += [Start("warm", warm_s + number, 25.0, 3.0, crash_s) for number in range(3)]
    return report.build(ABOUT, starts)


@pytest.mark.parametrize(
    ("warm_s", "crash_s", "goals"),
    [(30.0, 12.0, ("met (0.38)", "met (12.0 s)")), (60.0, 26.0, ("missed (0.75)", "missed (26.0 s)"))],
)
def test_medians_are_compared_with_the_goals(warm_s: float, crash_s: float, goals: tuple[str, str]) -> None:
    text = report.markdown(built(warm_s, crash_s), False)
    assert f"| command to first answer, s | 81.0 | {warm_s + 1:.1f} |" in text
    assert all(goal in text for goal in goals)
    assert "report.png" not in text


def test_it_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.draw(built(30.0, 12.0), tmp_path / "report.png")
    assert (tmp_path / "report.png").stat().st_size > 1000


def test_guards_are_told_from_engines() -> None:
    assert is_guard(["smallfirst:", "guard", "of", "vllm.entrypoints.openai.api_server"])
    assert is_guard(["smallfirst:", "has", "loaded", "vllm"])
    assert is_guard(
        ["python", "-I", "/x/router/engine/guard.py", "5.0", "/tmp/a", "python", "-m", "vllm", "--uds", "/x"]
    )
    assert not is_guard(["python", "-m", "vllm.entrypoints.openai.api_server", "--uds", "/x"])
    assert "pytest" in " ".join(command_words(os.getpid()))
    assert command_words(2**22 + 1) == [""]
