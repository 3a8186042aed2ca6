"""The entries of the catalogue: complete, and consistent in themselves."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from router.catalogue.bundled import TEMPLATES, by_hub_id, catalogue, find
from router.catalogue.entry import CatalogueEntry, Licence

ENTRIES = catalogue().values()
FAMILIES = {"Phi", "Nemotron-H", "SmolLM2", "Hymba", "DeepSeek-R1-Distill", "xLAM-2"}


def test_it_has_the_families() -> None:
    assert {entry.family for entry in ENTRIES} > FAMILIES
    assert len({entry.hub_id for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_says_where_its_facts_are_from(entry: CatalogueEntry) -> None:
    assert entry.sources[0] == f"https://huggingface.co/{entry.hub_id}"
    assert all(source.startswith("https://") for source in entry.sources)
    assert entry.embedding_parameters < entry.parameters < 10_000_000_000


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_size_in_the_name_is_about_the_number_of_parameters(entry: CatalogueEntry) -> None:
    *_, size = [part for part in entry.name.split("-") if part[0].isdigit() and part[-1] in "bm"] or [None]
    if size is not None and entry.name != "gemma-4-e2b":
        claimed = float(size[:-1]) * (1e9 if size[-1] == "b" else 1e6)
        assert entry.parameters == pytest.approx(claimed, rel=0.7 if entry.family in ("Granite 4", "xLAM-2") else 0.25)


def test_every_template_is_used_and_there() -> None:
    assert {entry.chat_template for entry in ENTRIES} - {None} == {file.name for file in TEMPLATES.iterdir()}


def test_what_is_not_for_commercial_use_says_so() -> None:
    forbidden = {entry.family for entry in ENTRIES if entry.licence.commercial == "forbidden"}
    assert forbidden == {"Nemotron-H", "xLAM-2"}
    assert find("xlam-2-8b").licence.words == "no: research only"
    assert find("phi-4-mini").licence.words == "yes"
    assert find("lfm2.5-1.2b").licence.words == "yes, free below 10 million USD of revenue a year"


def test_an_entry_is_found_by_its_name_or_its_hub_id() -> None:
    assert find("phi-4-mini").hub_id == "microsoft/Phi-4-mini-instruct"
    assert by_hub_id("Microsoft/phi-4-mini-INSTRUCT") == find("phi-4-mini")
    assert by_hub_id("microsoft/phi-5") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("phi-4-mni", r"no entry 'phi-4-mni' in the catalogue; did you mean 'phi-4-mini', .* \(`smallfirst models`"),
        ("smollm2", r"did you mean 'smollm2-135m', 'smollm2-360m' or 'smollm2-1.7b'"),
        ("Microsoft/Phi-4-mini-instruct", r"did you mean 'phi-4-mini'\?"),
        ("PHI-4-MINI", r"did you mean 'phi-4-mini', "),
        ("gpt", r"no entry 'gpt' in the catalogue \(`smallfirst models` lists them all\)"),
    ],
)
def test_an_unknown_name_is_told_with_those_that_are_near(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find(name)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tools": "untrained"}, "expected no `tool_parser`"),
        ({"tool_parser": None}, "expected a `tool_parser`"),
        ({"reasoning_parser": "qwen3"}, "expected no `reasoning_parser`"),
        ({"unverified": ["colour"]}, "expected names of facts, got colour"),
        ({"colour": "blue"}, "Extra inputs"),
    ],
)
def test_an_entry_that_contradicts_itself_is_rejected(changed: dict[str, Any], message: str) -> None:
    fields = find("qwen3-4b-instruct-2507").model_dump() | changed
    with pytest.raises(ValidationError, match=message):
        CatalogueEntry.model_validate(fields)


@pytest.mark.parametrize("licence", [("allowed", "if asked"), ("conditional", ""), ("forbidden", "")])
def test_a_licence_says_its_conditions_if_there_are_any(licence: tuple[Any, str]) -> None:
    commercial, conditions = licence
    with pytest.raises(ValidationError, match="expected `conditions` exactly if"):
        Licence(name="X", commercial=commercial, conditions=conditions)
