"""Other words for the end of an answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import UpstreamFailed
from router.messages.finish_reason import FINISH_REASONS, REPETITION, finish_reason, reason_of_choice

MEANT = {
    "stop": ["stop", "STOP", "eos", "eos_token", "end_turn", "stop_sequence", "COMPLETE", "FINISH_REASON_STOP", "x", 7],
    "length": [
        "MAX_TOKENS", "max_tokens", "model_context_window_exceeded", "max_output_tokens", "LENGTH", "model_length",
        "max-tokens", "maxTokens", "context_length_exceeded", "token_limit_reached",
    ],
    "content_filter": ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "refusal", "sensitive",
                       "contentFilter"],
    "tool_calls": ["tool_use", "tool_call", "TOOL_CALLS"],
}  # fmt: skip


@pytest.mark.parametrize(("meant", "word"), [(meant, word) for meant, words in MEANT.items() for word in words])
def test_a_word_of_another_api(meant: str, word: object) -> None:
    assert finish_reason(word, has_calls=meant == "tool_calls") == meant


@pytest.mark.parametrize(
    "word", ["error", "abort", "ABORT", "Error", "cancelled", "network_error", "server_error", "engineFailure"]
)
def test_an_upstream_that_gave_up(word: str) -> None:
    with pytest.raises(UpstreamFailed):
        finish_reason(word, has_calls=False)


def test_an_answer_that_repeats_itself_is_told_apart() -> None:
    assert finish_reason("REPETITION", has_calls=False) == REPETITION


def test_an_unknown_word_beside_calls() -> None:
    assert finish_reason("eos_token", has_calls=True) == "tool_calls"
    assert finish_reason("eos_token", has_calls=True, is_legacy=True) == "function_call"
    assert finish_reason("MAX_TOKENS", has_calls=True) == "length"


@pytest.mark.parametrize(
    ("message", "meant"),
    [
        ({"content": "a"}, "stop"),
        ({"content": None, "tool_calls": [{}]}, "tool_calls"),
        ({"content": None, "function_call": {"name": "f"}}, "function_call"),
        ("a text", "stop"),
        (None, "stop"),
    ],
)
def test_a_whole_choice(message: Any, meant: str) -> None:
    assert reason_of_choice({"message": message, "finish_reason": "end_turn"}) == meant


@given(st.text(min_size=1) | st.integers() | st.lists(st.none(), min_size=1), st.booleans())
def test_whatever_it_is_clients_get_one_of_the_five(word: object, has_calls: bool) -> None:
    try:
        assert finish_reason(word, has_calls=has_calls) in FINISH_REASONS
    except UpstreamFailed:
        assert isinstance(word, str)
