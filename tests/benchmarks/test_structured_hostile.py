"""The hostile cases are what they say they are, and their outcomes are reported correctly."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from benchmarks.structured.hostile import Variant, verdict
from benchmarks.structured.judge import fault_of
from benchmarks.structured.reply import Reply
from tests.support.hostile import Case, Fate, cases


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


RIGHT = Case("x", "valid", {"response_format": {"type": "json_object"}}, {"content": '{"a": 1}'}, {"a": 1})
ERROR = Reply(502, error="structured_output_violation")
WHOLE, FLOWING = Variant("openai", False), Variant("guidance", True)


def served(content: str, finish: str = "stop") -> Reply:
    return Reply(200, choice={"message": {"role": "assistant", "content": content}, "finish_reason": finish})


@pytest.mark.parametrize(
    ("fate", "variant", "reply", "word"),
    [
        ("valid", WHOLE, served('{"a": 1.0}'), "as it must be"),
        ("valid", WHOLE, served('{"a": 2}'), "not what was meant"),
        ("valid", WHOLE, ERROR, "refused"),
        ("valid", WHOLE, served("{", "length"), "truncated, but it was valid"),
        ("repairable", WHOLE, served('{"a": 1}'), "as it must be"),
        ("repairable", WHOLE, ERROR, "refused"),
        ("repairable", FLOWING, ERROR, "as it must be"),
        ("repairable", FLOWING, served('```{"a": 1}```'), "invalid to the client"),
        ("invalid", WHOLE, ERROR, "as it must be"),
        ("invalid", WHOLE, Reply(500, error="internal_error"), "refused"),
        ("invalid", WHOLE, served('{"a": 1}'), "valid, but it was invalid"),
        ("invalid", WHOLE, served("{"), "invalid to the client"),
        ("broken", WHOLE, Reply(502, error="upstream_error"), "as it must be"),
    ],
)
def test_what_became_of_a_case(fate: Fate, variant: Variant, reply: Reply, word: str) -> None:
    assert verdict(replace(RIGHT, fate=fate), variant, reply).startswith(word)
