from __future__ import annotations

import pytest

from router.types import ChatCall, Usage


@pytest.mark.parametrize("count", [-1, True, 1.5, "7", None, 10**400, [7]])
def test_a_count_that_cannot_be_one_is_none(count: object) -> None:
    assert Usage.of({"prompt_tokens": count, "completion_tokens": 3}) is None
    assert Usage.of({"prompt_tokens": 3, "completion_tokens": count}) == Usage(3, 0, 0)
    details = {"cached_tokens": count}
    assert Usage.of({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": details}) == Usage(3, 0, 2)


@pytest.mark.parametrize("usage", [None, 7, [], {}, "x"])
def test_no_usage(usage: object) -> None:
    assert Usage.of(usage) is None


def test_usage_with_cached_tokens() -> None:
    said = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    assert Usage.of(said) == Usage(prompt=9, cached=4, completion=2)


@pytest.mark.parametrize(
    ("prompt", "n", "choices"),
    [("a", None, 1), ("a", 2, 2), (["a", "b"], 2, 4), ([1, 2, 3], None, 1), ([[1], [2, 3]], None, 2)],
)
def test_every_prompt_has_its_choices(prompt: object, n: int | None, choices: int) -> None:
    call = ChatCall(endpoint="completions", model="auto", body={"prompt": prompt, "n": n}, size=1)
    assert call.choices == choices
