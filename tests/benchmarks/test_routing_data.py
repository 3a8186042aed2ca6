"""Files of other people's results, as they come."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.routing.data import NoData, load, pair, rows, task

MODELS = {
    "id": "mmlu/test/1",
    "prompt": "Why?",
    "system": "Be brief.",
    "models": {
        "small": {"correct": 0, "cost": 0.001, "logconf": None},
        "middle": {"score": 0.5, "cost": 0.01, "logconf": -0.5},
        "large": {"correct": 1, "cost": 0.1},
    },
}
DIRECT = {"id": "gsm8k/0", "prompt": "1 + 1?", "weak": 0, "strong": 1, "contaminated": 0}


def written(folder: Path, lines: list[dict[str, Any]], name: str = "a.jsonl.gz") -> Path:
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    file = folder / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return file


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_line_separator_within_a_text_is_part_of_it(tmp_path: Path, name: str) -> None:
    lines = [DIRECT | {"prompt": "a\u2028b\x85c"}, DIRECT]
    assert load(written(tmp_path, lines, name)) == lines


@pytest.mark.parametrize("content", [b"", b"\n", b"[1]", b"no json", b"\xff", gzip.compress(b"{}")[:-4]])
def test_what_is_no_data_is_said(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    with pytest.raises(NoData, match="jsonl: "):
        load(file)
    with pytest.raises(NoData):
        load(tmp_path / "absent")


def test_a_pair_is_chosen_by_price_and_quality() -> None:
    assert pair([MODELS], None, None) == ("small", "large")
    assert pair([MODELS], None, "middle") == ("small", "middle")
    assert pair([MODELS], "middle", None) == ("middle", "large")
    assert pair([DIRECT], None, None) == ("weak", "strong")


def test_a_pair_of_many_models() -> None:
    (row,) = rows([MODELS], "middle", "large")
    assert (row.weak, row.strong, row.gain, row.weak_usd, row.strong_usd) == (0.5, 1.0, 0.5, 0.01, 0.1)
    assert (row.logconf, row.has_confidence, row.task, row.text) == (-0.5, True, "mmlu", "Be brief.\n\nWhy?")


def test_no_confidence_is_not_an_infinitely_low_one() -> None:
    (low,) = rows([MODELS], "small", "large")
    assert (low.logconf, low.has_confidence) == (None, True)
    (none,) = rows([MODELS], "large", "small")
    assert (none.logconf, none.has_confidence) == (None, False)


def test_votes_are_a_confidence() -> None:
    agree, none, neither = rows([DIRECT | {"agree": 0.5}, DIRECT | {"agree": 0}, DIRECT], None, None)
    assert (agree.has_confidence, agree.logconf) == (True, pytest.approx(-0.6931, abs=1e-4))
    assert (none.has_confidence, none.logconf) == (True, None)
    assert neither.has_confidence is False


def test_names_mean_nothing_where_the_pair_is_given() -> None:
    assert rows([DIRECT], "small", "large") == rows([DIRECT], None, None)


def test_what_cannot_be_scored_is_left_out() -> None:
    bad = [DIRECT | {"contaminated": 1}, DIRECT | {"weak": None}, DIRECT | {"strong": float("nan")}, {"id": "x"}]
    assert len(rows([*bad, DIRECT, MODELS], "small", "large")) == 2
    with pytest.raises(NoData, match="large, middle, small"):
        rows([MODELS], "tiny", "large")


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"dataset": "triviaqa", "id": "x/1"}, "triviaqa"),
        ({"eval": "mbpp", "id": "mbpp.dev.1"}, "mbpp"),
        ({"id": "arc-challenge.test.4"}, "arc-challenge"),
        ({"id": 7}, "7"),
        ({}, ""),
    ],
)
def test_the_kind_of_a_call(row: dict[str, Any], name: str) -> None:
    assert task(row) == name
