"""docs/reference says what the code says, and the tables that it is made from are complete."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal, get_args

import pytest
from pydantic import BaseModel, Field

from router.types import ESCALATION_REASONS, EscalationReason, VerdictWord
from server.http.relay import STRUCTURED_VALUES

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

import reference
import reference_models

PAGES = reference.pages()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    file = reference.FOLDER / name
    assert file.exists(), f"run `make reference`: {file} does not exist"
    assert file.read_text(encoding="utf-8") == PAGES[name], f"run `make reference`: {file} differs from the code"


def test_no_page_is_left_from_before() -> None:
    assert {file.name for file in reference.FOLDER.iterdir()} == set(PAGES)


def test_every_reason_has_its_meaning() -> None:
    assert list(ESCALATION_REASONS) == list(get_args(EscalationReason))


def test_every_verdict_of_an_answer_that_leaves_has_its_meaning() -> None:
    assert set(get_args(VerdictWord)) - {"valid", "invalid"} < set(STRUCTURED_VALUES)


class Limits(BaseModel):
    """How much.

    And how long.
    """

    most: Annotated[int, Field(ge=1)] = 1_000
    """the largest number"""
    kind: Literal["a", "b"] = Field("a", description="which one")


class Options(BaseModel):
    """All options."""

    limits: Limits = Limits()
    by_name: dict[str, Limits] = Field(default_factory=dict, min_length=1)
    names: tuple[str, ...]
    suffix: str = Field(default_factory=lambda fields: f"|{fields['kind']}")
    kind: Literal["x", "y"] = "x"


def test_nested_models_become_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_models, "ModelsFile", Options)
    monkeypatch.setattr(reference_models, "policy_options", lambda: {"dice": Limits})
    page = reference_models.models_page()
    assert "## The file\n\nAll options.\n\n| Key |" in page
    assert "| `limits` | mapping, see [limits](#limits) | all defaults |  |" in page
    assert "| `by_name` | mapping of name to mapping, not empty, see [by_name.NAME](#by_namename) | empty |  |" in page
    assert "| `names` | list of text | required |  |" in page
    assert "| `suffix` | text | for `kind: x`: `\\|x`; for `kind: y`: `\\|y` |  |" in page
    assert page.count("How much.\n\nAnd how long.") == 3
    assert "## by_name.NAME\n" in page
    assert "## routes.NAME, policy dice\n" in page
    assert "| `most` | whole number, at least 1 | `1,000` | The largest number. |" in page
    assert "| `kind` | `a` or `b` | `a` | Which one. |" in page
