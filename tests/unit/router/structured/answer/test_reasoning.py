"""Thoughts that stand before an answer, in its text."""

import pytest

from router.structured.answer.reasoning import (
    drop_reasoning,
    may_be_reasoning,
    removed_reasoning,
    separations,
    split_reasoning,
)


@pytest.mark.parametrize(
    ("text", "thought", "rest"),
    [
        ("<think>a\n</think>b", "a", "b"),
        ("\n<think>a</think><think>b</think>c", "a", "<think>b</think>c"),
        ("<think>a", "a", ""),
        ("\ufeffb", "", "b"),
        (" b<think>a</think>", "", " b<think>a</think>"),
        ("\n</think>\nb", "", "\nb"),
        ("a</think>b", "", "a</think>b"),
    ],
)
def test_thoughts_come_first_or_not_at_all(text, thought, rest):
    assert split_reasoning(text) == (thought, rest)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("b", [("", "b")]),
        ("a\n</think>\n\nb", [("", "a\n</think>\n\nb"), ("a", "\n\nb")]),
        ("\ufeffa</think>b</think>c", [("", "a</think>b</think>c"), ("a", "b</think>c")]),
        ("<think>a</think>b</think>c", [("a", "b</think>c")]),
        ("</think>b", [("", "b")]),
        ("a<think>b</think>c", [("", "a<think>b</think>c")]),
    ],
)
def test_the_prompt_may_have_opened_the_block(text, found):
    assert list(separations(text)) == found


@pytest.mark.parametrize(
    ("text", "answer", "reasoning"),
    [
        ("<think>a</think>b", "b", "a"),
        ("a</think>b", "b", "a"),
        ("a</think>b</think>", "b</think>", "a"),
        ('{"a": "</think>",}', '{"a": "</think>"}', ""),
        ("b.", "b", ""),
    ],
)
def test_what_was_taken_off(text, answer, reasoning):
    assert removed_reasoning(text, answer) == reasoning


@pytest.mark.parametrize("text", ["", "\ufeff ", "<", "</thi", "\n<thi", "<think>", "<think>a</thin"])
def test_a_text_may_still_be_thinking(text):
    assert may_be_reasoning(text)


@pytest.mark.parametrize(
    "text", ["a", "<p>", "<think>a</think>", "<think></think>b", "</think>", "</think>b", "a</think>"]
)
def test_a_text_that_has_come_further_thinks_no_more(text):
    assert not may_be_reasoning(text)


@pytest.mark.parametrize(
    "text", ["<think>Well, </thin, k>!</think>\n\nyes", "\ufeff <think></think>yes", "</think>\nyes", "yes", " yes"]
)
@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_thoughts_are_forgotten_while_they_come(text, size):
    head = ""
    for at in range(0, len(text), size):
        head = drop_reasoning(head + text[at : at + size])
        assert len(head) <= len("<think></think>")
    assert head == "yes"
