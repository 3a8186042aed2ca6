from __future__ import annotations

from typing import Any

import pytest

from router.types import ChatCall
from tests.support.fakes import ENDPOINTS


@pytest.mark.parametrize(
    ("prompt", "n", "choices"),
    [("a", None, 1), ("a", 2, 2), (["a", "b"], 2, 4), ([1, 2, 3], None, 1), ([[1], [2, 3]], None, 2)],
)
def test_every_prompt_has_its_choices(prompt: object, n: int | None, choices: int) -> None:
    call = ChatCall(endpoint=ENDPOINTS["completions"], model="auto", body={"prompt": prompt, "n": n}, fields={}, size=1)
    assert call.choices == call.generated == choices


@pytest.mark.parametrize("prompt", [[], ["a", "b"], [[1], [2]], "a", None, 5])
def test_a_chat_is_one_prompt_whatever_a_field_of_that_name_holds(prompt: object) -> None:
    call = ChatCall(
        endpoint=ENDPOINTS["chat/completions"], model="auto", body={"prompt": prompt, "best_of": 7}, fields={}, size=1
    )
    assert (call.prompts, call.choices, call.generated) == (1, 1, 1)


@pytest.mark.parametrize(
    ("prompt", "n", "best_of", "generated"),
    [("a", None, 3, 3), ("a", 2, 3, 3), (["a", "b"], 2, 5, 10), ("a", 2, None, 2), ([[1], [2]], None, None, 2)],
)
def test_what_is_generated_is_more_than_what_comes_back(
    prompt: object, n: int | None, best_of: int | None, generated: int
) -> None:
    call = ChatCall(
        endpoint=ENDPOINTS["completions"],
        model="auto",
        body={"prompt": prompt, "n": n, "best_of": best_of},
        fields={},
        size=1,
    )
    assert call.generated == generated
    assert call.choices == (n or 1) * call.prompts


@pytest.mark.parametrize(
    ("endpoint", "body", "most"),
    [
        ("chat/completions", {"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ("chat/completions", {"max_tokens": 5, "max_completion_tokens": None}, 5),
        ("completions", {"max_tokens": 5, "max_completion_tokens": "abc"}, 5),
        ("completions", {"max_completion_tokens": 7}, None),
    ],
)
def test_max_tokens(endpoint: str, body: dict[str, Any], most: int | None) -> None:
    assert ChatCall(endpoint=ENDPOINTS[endpoint], model="auto", body=body, fields={}, size=1).max_tokens == most
