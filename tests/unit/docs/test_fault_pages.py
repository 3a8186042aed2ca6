"""docs/faults.md names tests that exist, and docs/fault-wall.md has every scenario."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.chaos.wall import SCENARIOS
from tests.chaos.wall.report import Row, page, read
from tests.chaos.wall.scenario import Verdict

ROOT = Path(__file__).parents[3]
MAP = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
WALL = read((ROOT / "docs" / "fault-wall.md").read_text(encoding="utf-8"))
ROWS = [line for line in MAP.splitlines() if line.startswith("| ") and "---" not in line]


@cache
def names_in(file: str) -> frozenset[str]:
    """Return the names of a file's tests."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def named() -> Iterator[tuple[str, str]]:
    for name in re.findall(r"`(tests/[^`]*)`", MAP):
        file, _, test = name.partition("::")
        yield file, test


def test_every_test_that_is_named_exists() -> None:
    missing = [f"{file}::{test}" for file, test in named() if not (ROOT / file).exists() or test not in names_in(file)]
    assert not missing


def test_every_line_has_a_test_or_says_that_it_comes_later() -> None:
    empty = [row for row in ROWS if "::test_" not in row and "| later" not in row and not row.endswith("| tests |")]
    assert not empty


def test_every_group_of_the_wall_is_named() -> None:
    assert set(re.findall(r"\[wall: ([^\]]+)\]", MAP)) <= set(SCENARIOS)


def test_the_page_has_every_scenario_with_a_verdict_that_it_may_have() -> None:
    verdicts = {(row.group, row.name, row.mode): row.verdict for row in WALL}
    expected = {
        (group, scenario.name, mode): scenario.required
        for group, scenarios in SCENARIOS.items()
        for scenario in scenarios
        for mode in scenario.modes
    }
    assert set(verdicts) == set(expected), "run `make chaos`: docs/fault-wall.md differs from the scenarios"
    assert not [key for key, verdict in verdicts.items() if verdict < expected[key]]


def test_a_page_can_be_read_again() -> None:
    rows = [
        Row("a", "x", "whole", Verdict.PASS),
        Row("a", "x", "streamed", Verdict.SAFE),
        Row("b", "y", "whole", Verdict.FAIL),
    ]
    text = page(rows, "here")
    assert "2 scenarios, 3 runs: 1 pass, 0 partial, 1 safe, 1 fail." in text
    assert read(text) == rows


def test_the_command_writes_the_page() -> None:
    """As a word of its own, pytest would take the page for a place to look for tests, and know no such option."""
    assert "--fault-wall=docs/fault-wall.md" in (ROOT / "Makefile").read_text(encoding="utf-8")
