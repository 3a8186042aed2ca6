"""What the tests of the families write of each entry. Nothing is run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

from family_results import MODULE, Outcome, alike, family_results
from family_results import TESTS as TESTS_BY_ANSWER
from reference_catalogue import FamilyResult

from router.catalogue.bundled import catalogue, find
from tests.families.entries import FAMILIES

TESTS = (*TESTS_BY_ANSWER["chat"], "test_stream", "test_json_schema", "test_thoughts")
FAULT = "vLLM loses it"


def outcomes(family: str, **words: str) -> Iterator[Outcome]:
    """Yield outcomes of a family's tests: all have passed but these."""
    for test in TESTS:
        for variant in ("whole", "stream"):
            word = words.get(test, "passed")
            reason = FAULT if word == "expected failure" else ""
            yield Outcome(f"{MODULE}{test}[{family}-{variant}]", word, 1.0, reason)


def test_an_entry_answers_what_passed_whole_and_streamed() -> None:
    found = family_results(outcomes("qwen3.5-4b", test_thoughts="failed"), "vllm 1 CPU", "2026-01-02")
    expected = {"answers": ["chat", "stream", "json_schema"], "engine": "vllm 1 CPU", "date": "2026-01-02"}
    assert found == {"qwen3.5-4b": expected, "qwen3.5-9b": expected}, "the larger one differs in nothing tested"
    FamilyResult.model_validate(found["qwen3.5-4b"])


def test_expected_failures_are_said() -> None:
    found = family_results(outcomes("qwen3.5-4b", test_json_schema="expected failure"), "vllm 1 CPU", "2026-01-02")
    assert found["qwen3.5-4b"]["faults"] == [FAULT]
    assert found["qwen3.5-4b"]["answers"] == ["chat", "stream", "reasoning"]
    FamilyResult.model_validate(found["qwen3.5-4b"])


@pytest.mark.parametrize("word", ["failed", "skipped"])
def test_what_did_not_run_answered_nothing(word: str) -> None:
    words = dict.fromkeys(TESTS, word)
    assert family_results(outcomes("qwen3.5-4b", **words), "vllm 1 CPU", "2026-01-02") == {}
    assert family_results([Outcome("tests/vllm/test_a.py::test_chat[qwen3.5-4b]", "passed", 1.0)], "", "") == {}


def test_every_entry_that_vllm_runs_is_tested_or_alike_one_that_is() -> None:
    tested = [find(family.name) for family in FAMILIES]
    untested = [
        entry.name
        for entry in catalogue().values()
        if entry.engine == "vllm" and not any(alike(entry, other) for other in tested)
    ]
    assert untested == []


def test_a_family_writes_calls_and_thoughts_if_its_entry_does() -> None:
    for family in FAMILIES:
        assert (family.calls is not None) == family.entry.calls_tools, family.name
        assert (family.thoughts is not None) == (family.entry.thinking != "never"), family.name
