"""Is there anything for the reader?"""

from __future__ import annotations

from typing import Any

import pytest

from router.messages.visible import Visible, has_visible


@pytest.mark.parametrize("text", ["a", " \n.", "漢", "\U0001f600", "\u200b!", "\x00x"])
def test_a_text_that_can_be_seen(text: str) -> None:
    assert has_visible(text)


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t\r\n", "\u00a0\u3000\u2028", "\ufeff", "\u200b\u200d", "\x00", None, 7, ["a"]]
)
def test_a_text_that_cannot(text: object) -> None:
    assert not has_visible(text)


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"content": "a"}, True),
        ({"content": None, "tool_calls": [{"id": "a"}]}, True),
        ({"content": None, "function_call": {"name": "f"}}, True),
        ({"content": None, "refusal": "No."}, True),
        ({"content": None, "audio": {"id": "a"}}, True),
        ({"content": None, "images": [{}]}, True),
        ({"content": None, "refusal": None, "tool_calls": None}, False),
        ({"role": "assistant", "content": " \n"}, False),
        ({"content": None, "reasoning_content": "Hm.", "reasoning_details": [{"text": "Hm."}]}, False),
        ({"content": "", "annotations": [{}], "extra_content": {"a": 1}}, False),
        ("a text", False),
        (None, False),
    ],
)
@pytest.mark.parametrize("of", ["message", "delta"])
def test_what_a_choice_says(of: str, said: Any, found: bool) -> None:
    visible = Visible().look([{"index": 0, of: said}])
    assert visible.found is found
    if not found:
        assert visible.has_thoughts is (isinstance(said, dict) and "reasoning_content" in said)


def test_a_filtered_answer_says_why_it_is_empty() -> None:
    assert Visible().look([{"message": {"content": None}, "finish_reason": "content_filter"}]).found


def test_one_of_several_choices_is_enough() -> None:
    blank = {"message": {"content": " "}, "finish_reason": "length"}
    visible = Visible().look([blank, {"message": {"content": "a"}, "finish_reason": "stop"}])
    assert (visible.found, visible.is_cut) == (True, True)
