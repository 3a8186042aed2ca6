"""docs/models.md says what the catalogue says, and what was started."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from router.catalogue.bundled import catalogue, find

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

import reference_catalogue
from reference_catalogue import catalogue_page, read_results, started

RESULT = {"answers": ["chat", "json_schema"], "engine": "vllm 0.32.0 CPU", "date": "2026-11-28"}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "families.json"


def test_the_page_is_what_the_catalogue_says() -> None:
    page = reference_catalogue.PAGE.read_text(encoding="utf-8")
    assert page == catalogue_page(), "run `make reference`: docs/models.md differs from the catalogue"


def test_every_entry_has_a_row() -> None:
    table = catalogue_page().partition("## The catalogue")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert [row.split("[")[1].partition("]")[0] for row in rows] == list(catalogue())
    assert all(row.count(" | ") == len(reference_catalogue.COLUMNS) - 1 for row in rows)


@pytest.mark.parametrize("row", reference_catalogue.ADVICE_ROWS, ids=lambda row: row[0])
def test_the_models_to_take_are_in_the_catalogue_and_may_be_used_commercially(row: tuple[str, str, str]) -> None:
    family, take, why = row
    assert family in {entry.family for entry in catalogue().values()}
    names = re.findall(r"`([^`]+)`", take)
    assert names
    assert all(find(name).licence.commercial != "forbidden" for name in names)
    assert f"| {family} | {take} | {why} |" in catalogue_page()


def test_what_has_no_source_is_shown() -> None:
    page = catalogue_page()
    for entry in catalogue().values():
        if entry.unverified:
            assert f"No source was found for: {', '.join(entry.unverified)}." in page


def test_without_results_nothing_was_started(results: Path) -> None:
    assert read_results(results) == {}
    assert started(find("phi-4-mini"), {}) == "not started"


def test_a_result_is_that_of_the_entry_or_of_its_architecture(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results.write_text(json.dumps({"xlam-2-8b": RESULT | {"answers": ["chat"]}, "LlamaForCausalLM": RESULT}))
    found = read_results(results)
    assert started(find("xlam-2-8b"), found) == "chat (vllm 0.32.0 CPU, 2026-11-28)"
    assert started(find("smollm2-135m"), found) == "chat, json schema (vllm 0.32.0 CPU, 2026-11-28)"
    assert started(find("phi-4-mini"), found) == "not started"
    monkeypatch.setattr(reference_catalogue, "RESULTS", results)
    assert "| chat (vllm 0.32.0 CPU, 2026-11-28) |" in catalogue_page()


def test_what_an_engine_does_wrong_is_a_note(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results.write_text(json.dumps({"qwen3.5-4b": RESULT | {"faults": ["a stream loses calls"]}}))
    monkeypatch.setattr(reference_catalogue, "RESULTS", results)
    assert "Seen with vllm 0.32.0 CPU: a stream loses calls." in catalogue_page()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"gpt": RESULT}, ValueError),
        ({"phi-4-mini": RESULT | {"answers": []}}, ValidationError),
        ({"phi-4-mini": RESULT | {"answers": ["song"]}}, ValidationError),
        ({"phi-4-mini": {"answers": ["chat"]}}, ValidationError),
    ],
)
def test_a_wrong_result_is_rejected(content: object, error: type[Exception], results: Path) -> None:
    results.write_text(json.dumps(content))
    with pytest.raises(error):
        read_results(results)
