"""The token counts of an answer, in every form in which upstreams write them."""

from __future__ import annotations

from typing import Any

import pytest

from router.messages.usage import read_usage
from router.types import Usage


@pytest.mark.parametrize("count", [-1, True, 1.5, "7", None, 10**400, [7]])
def test_a_count_that_cannot_be_one_is_none(count: object) -> None:
    assert read_usage({"prompt_tokens": count, "completion_tokens": 3}) is None
    assert read_usage({"prompt_tokens": 3, "completion_tokens": count}) == Usage(3, 0, 0)
    details = {"cached_tokens": count}
    assert read_usage({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": details}) == Usage(3, 0, 2)


@pytest.mark.parametrize("usage", [None, 7, [], {}, "x"])
def test_no_usage(usage: object) -> None:
    assert read_usage(usage) is None


def test_usage_with_cached_tokens() -> None:
    said = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    assert read_usage(said) == Usage(prompt=9, cached=4, completion=2)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 4, "prompt_cache_miss_tokens": 5}, 4),
        ({"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 4}, 4),
        ({"prompt_tokens": 9, "completion_tokens": 2, "cached_tokens": 4}, 4),
        ({"input_tokens": 9, "output_tokens": 2, "input_tokens_details": {"cached_tokens": 4}}, 4),
        ({"promptTokenCount": 9, "candidatesTokenCount": 2, "cachedContentTokenCount": 4}, 4),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"audio_tokens": 1}}, 0),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None, "cached_tokens": None}, 0),
    ],
)
def test_cached_tokens_by_any_name(said: dict[str, Any], meant: int) -> None:
    assert read_usage(said) == Usage(prompt=9, cached=meant, completion=2)


def test_thoughts_that_only_the_total_contains_are_paid_once() -> None:
    outside = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 115}
    assert read_usage(outside) == Usage(prompt=10, completion=105)
    detailed = outside | {"completion_tokens_details": {"reasoning_tokens": 100}}
    assert read_usage(detailed) == Usage(prompt=10, completion=105)
    inside = {"prompt_tokens": 10, "completion_tokens": 105, "total_tokens": 115}
    assert read_usage(inside | {"completion_tokens_details": {"reasoning_tokens": 100}}) == Usage(10, 0, 105)
    gemini = {"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 100}
    assert (
        read_usage(gemini)
        == read_usage(gemini | {"totalTokenCount": 115, "cachedContentTokenCount": None})
        == Usage(prompt=10, completion=105)
    )


def test_cached_tokens_outside_of_the_prompt_belong_to_it() -> None:
    """Anthropic counts them apart; they must not be paid as an answer."""
    apart = {"prompt_tokens": 10, "completion_tokens": 5, "cache_read_input_tokens": 1000, "total_tokens": 1015}
    assert read_usage(apart) == Usage(prompt=1010, cached=1000, completion=5)
    written = apart | {"cache_creation_input_tokens": 7, "total_tokens": 1022}
    assert read_usage(written) == Usage(prompt=1017, cached=1000, completion=5)
    native = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1000, "cache_creation_input_tokens": 7}
    assert read_usage(native) == Usage(prompt=1017, cached=1000, completion=5)


@pytest.mark.parametrize("total", [0, 14, 15, -1, "115", None, True, 2**60])
def test_a_total_that_says_nothing_more(total: object) -> None:
    assert read_usage({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": total}) == Usage(10, 0, 5)
