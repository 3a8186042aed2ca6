"""The whole command, on small made-up data."""

from __future__ import annotations

import json
import random
from math import inf
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.common.plot import NoMatplotlib, new_figure
from benchmarks.routing import plot
from benchmarks.routing.__main__ import main
from benchmarks.routing.data import rows
from benchmarks.routing.metrics import FIGURES, Order, Rank, figures
from benchmarks.routing.policies import cross_score, levels

HARD, EASY = ("integral", "theorem", "lemma"), ("cat", "garden", "apple")
BLIND = {"random", "length", "classifier", "oracle"}
CASCADES = {"raw_cascade", "cascade"}


def calls(count: int, *, kind: str, models: bool, seed: int = 0) -> list[dict[str, Any]]:
    """Return calls of which the small model fails at the hard half, and is less sure there."""
    draw, lines = random.Random(seed), []
    for place in range(count):
        hard = place % 2 == 1
        weak = int(draw.random() > (0.8 if hard else 0.1))
        prompt = f"{kind}: what is the {' '.join(draw.choices(HARD if hard else EASY, k=4))} of {place}?"
        line: dict[str, Any] = {"id": f"{kind}/{place}", "prompt": prompt}
        if models:
            small = {"correct": weak, "cost": 1e-5, "logconf": -0.1 if weak else -1.5 - draw.random()}
            large = {"correct": 1, "cost": 1e-4, "logconf": None if place == 3 else -0.01}
            lines.append(line | {"system": f"About {kind}.", "models": {"small": small, "large": large}})
        else:
            lines.append(line | {"weak": weak, "strong": 1})
    return lines


def written(folder: Path, name: str, lines: list[dict[str, Any]]) -> Path:
    file = folder / f"{name}.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def asked(*arguments: object, out: Path) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json", str(out)]) == 0
    found: dict[str, Any] = json.loads(out.read_text())
    assert all(set(one) == set(FIGURES) for one in found["policies"].values())
    return found


def test_one_file_teaches_and_another_asks(tmp_path: Path) -> None:
    train = written(tmp_path, "a", calls(120, kind="maths", models=True))
    test = written(tmp_path, "b", calls(80, kind="maths", models=True, seed=1))
    found = asked("--train", train, "--test", test, out=tmp_path / "out.json")
    assert (found["weak"], found["strong"], found["labels"], found["calls"]) == ("small", "large", 120, 80)
    of = found["policies"]
    assert set(of) == BLIND | CASCADES
    assert of["random"]["apgr"] == pytest.approx(0.5)
    assert of["random"]["apgr"] < of["classifier"]["apgr"] <= of["oracle"]["apgr"]
    assert of["cascade"]["usd95"] < of["random"]["usd95"]


@pytest.mark.parametrize(("of_train", "of_test"), [(True, False), (False, True)])
def test_files_of_different_shapes(tmp_path: Path, of_train: bool, of_test: bool) -> None:
    train = written(tmp_path, "a", calls(60, kind="maths", models=of_train))
    test = written(tmp_path, "b", calls(60, kind="poems", models=of_test))
    names = ["--weak", "small", "--strong", "large"]
    found = asked("--train", train, "--test", test, *names, out=tmp_path / "out.json")
    assert set(found["policies"]) == BLIND | (CASCADES if of_test else set())
    assert (found["policies"]["length"]["usd95"] is None) == (not of_test)


def test_a_pair_that_only_the_test_has(tmp_path: Path) -> None:
    train = calls(60, kind="maths", models=True)
    for line in train:
        line["models"] = {f"other-{name}": result for name, result in line["models"].items()}
    files = written(tmp_path, "a", train), written(tmp_path, "b", calls(40, kind="maths", models=True))
    found = asked("--train", files[0], "--test", files[1], out=tmp_path / "out.json")
    assert (found["weak"], found["strong"], found["labels"]) == ("small", "large", 60)


def test_few_calls_and_no_gain(tmp_path: Path) -> None:
    train = written(tmp_path, "a", calls(2, kind="maths", models=True))
    same = [line | {"weak": 1} for line in calls(3, kind="maths", models=False)]
    found = asked("--train", train, "--test", written(tmp_path, "b", same), out=tmp_path / "out.json")
    assert found["policies"]["classifier"]["apgr"] is None
    assert found["policies"]["classifier"]["c95"] == 0


def test_files_of_one_name_are_not_one_file(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    train = written(tmp_path / "train", "a", calls(30, kind="maths", models=False))
    test = written(tmp_path, "a", calls(50, kind="maths", models=False))
    assert asked("--train", train, "--test", test, out=tmp_path / "out.json")["labels"] == 30


def test_each_call_is_scored_by_those_who_have_not_seen_it() -> None:
    found = rows(calls(40, kind="maths", models=False), None, None)
    outcome = cross_score(found)
    assert all(len(one.scores) == 40 for one in outcome.policies.values())
    assert list(outcome.policies["oracle"].scores) == [row.gain for row in found]
    assert len(set(outcome.policies["classifier"].scores)) > 5


RANKS = st.lists(
    st.builds(Rank, st.floats(-2, 2), st.sampled_from([-inf, -1.0, 0.0, 0.5, 1.0])), min_size=1, max_size=20
)


@settings(deadline=None)
@given(RANKS, st.randoms(use_true_random=False))
def test_levels_keep_the_figures(ranks: list[Rank], random: random.Random) -> None:
    lines = [
        {
            "id": str(n),
            "prompt": "Why?",
            "weak": random.random(),
            "strong": random.random(),
            "weak_cost": 1,
            "strong_cost": 9,
        }
        for n in range(len(ranks))
    ]
    found = rows(lines, None, None)
    before, after = (figures(Order(found, scores, pays_weak=True).curve()) for scores in (ranks, levels(ranks)))
    assert after == pytest.approx(before)


def test_scores_of_two_fits_are_compared_by_their_levels() -> None:
    assert levels([0.1, 0.3, 0.2]) == levels([10.0, 30.0, 20.0]) == [Rank(1 / 6), Rank(5 / 6), Rank(1 / 2)]
    assert levels([Rank(0.1, 0.15), 0.2]) == [Rank(0.0, 1 / 4), Rank(3 / 4)]


def test_all_files_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, "a", calls(30, kind="maths", models=False))
    written(tmp_path, "b", calls(30, kind="poems", models=False))
    written(tmp_path, "c", calls(30, kind="maths", models=True))
    written(tmp_path, "d", calls(30, kind="poems", models=True))
    out = tmp_path / "out"
    assert main(["--all", str(tmp_path), "--out", str(out), "--samples", "5"]) == 0
    report = json.loads((out / "report.json").read_text())
    titles = [(run["train"], run["test"]) for run in report["runs"]]
    halves = [(f"{name}, half", f"{name}, other half") for name in "ab"]
    across = [("a", "b"), ("b", "a")]
    assert titles == [("a", "a"), halves[0], ("b", "b"), halves[1], *across, ("c", "c"), ("d", "d"), ("c + d", "c + d")]
    told = (out / "report.md").read_text()
    assert "| a -> b | 0." in told
    assert "| c + d | small -> large |" in told
    assert "### c + d: small -> large" in told
    assert capsys.readouterr().out.count("oracle") == len(titles)
    try:
        new_figure(1, 1)
    except NoMatplotlib:
        return
    (out / "report.png").unlink()
    assert main(["--redraw", "--out", str(out)]) == 0
    assert (out / "report.png").exists()


def test_the_picture_has_the_curves_of_each_run_that_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        figure = new_figure(4, 4)
    except NoMatplotlib:
        pytest.skip("no matplotlib")
    monkeypatch.setattr(plot, "new_figure", lambda width, height: figure)
    curve = {"share": [0.0, 1.0], "quality": [0.5, 0.9]}
    run = {"shown": True, "crossed": True, "test": "a", "weak": "small", "strong": "large", "curves": {"random": curve}}
    plot.draw({"runs": [run, run | {"shown": False}, run]}, tmp_path / "report.png")
    assert [len(axes.lines) for axes in figure.axes if axes.axison] == [1, 1]


def test_what_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("{")
    assert main(["--train", str(file), "--json", str(tmp_path / "out.json")]) == 2
    assert main(["--all", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    assert "a.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    ["", "--train a", "--json o", "--all d", "--all d --out o --train a", "--all d --out o --weak w", "--redraw"],
)
def test_commands_that_make_no_sense(arguments: str) -> None:
    with pytest.raises(SystemExit) as error:
        main(arguments.split())
    assert error.value.code == 2
