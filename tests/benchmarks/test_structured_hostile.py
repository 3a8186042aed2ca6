"""The hostile cases are what they say they are."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from benchmarks.structured.judge import fault_of
from tests.support.hostile import Case, cases


@pytest.fixture(scope="module")
def generated() -> list[Case]:
    return cases(400)


def test_they_are_the_same_each_time(generated: list[Case]) -> None:
    assert cases(400) == generated
    assert len(generated) == 400
    assert min(Counter(case.fate for case in generated).values()) > 5
    assert len({case.name for case in generated}) > 80


def test_the_independent_judge_agrees(generated: list[Case]) -> None:
    """Valid is what it finds no fault with as it stands; what is to be repaired has one, and so has what is invalid."""
    for case in generated:
        if case.fate in ("valid", "repairable", "invalid"):
            fault = fault_of(case.asked, {"message": case.message, "finish_reason": case.finish})
            bare = case.fate == "repairable" and case.name.startswith("auto: ")  # as text it is an answer, too
            assert bare or bool(fault) == (case.fate != "valid"), (case, fault)


def test_a_request_is_json(generated: list[Case]) -> None:
    assert all(json.dumps(case.body("m", streamed=True)) for case in generated)
