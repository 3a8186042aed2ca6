"""The instructions of a request, from what valgrind counted between the marks."""

from __future__ import annotations

import pytest

from benchmarks.overhead.instructions import CountFailed, as_markdown, per_request


def test_what_lies_between_a_start_and_an_end_is_counted() -> None:
    start_up, within_the_mark, between = 6_000_000, 82, 500_000
    totals = [start_up, within_the_mark, 640_000, 3, between, 1_280_000]
    assert per_request(totals, ["whole", "stream64"], 64) == {"whole": 10_000, "stream64": 20_000}


def test_a_missing_mark_is_an_error() -> None:
    with pytest.raises(CountFailed, match="expected 2 marks, but found 1"):
        per_request([6_000_000], ["whole"], 64)


def test_the_table_compares_with_the_other_checkouts() -> None:
    text = as_markdown({"smallfirst": {"whole": 750_000.0}, "before": {"whole": 1_000_000.0}})
    assert "| whole | 750,000 | 1,000,000 | 0.750 |" in text
