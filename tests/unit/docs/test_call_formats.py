"""docs/structured.md lists every format of tool calls, and its examples are recognised."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from router.structured.answer.text_calls.formats import FORMATS, read_calls
from router.structured.constraint import Tool

PAGE = Path(__file__).parents[3] / "docs" / "structured.md"
SECTION = PAGE.read_text(encoding="utf-8").partition("## Tool calls written as text")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in SECTION.splitlines() if line[:1] == "|"
]
DESCRIBED = ("tool code", "DeepSeek")
"""formats whose example has several lines, which a table cannot show"""


def test_the_table_has_every_format() -> None:
    assert [name for name, *_ in ROWS[2:]] == [call_format.name for call_format in FORMATS]


@pytest.mark.parametrize("row", [row for row in ROWS[2:] if row[0] not in DESCRIBED], ids=lambda row: row[0])
def test_the_examples_are_recognised(row: list[str]) -> None:
    for example in re.findall(r"`([^`]+)`", row[2]):
        calls = read_calls(example.replace(r"\|", "|"), {"f": Tool("f")})
        assert all(call.name == "f" and call.arguments["a"] in (1, 2, "1") for call in calls)
