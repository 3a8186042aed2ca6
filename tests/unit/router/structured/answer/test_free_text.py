"""A text that streams where calls are optional: what may be sent, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.free_text import MAX_HEAD_CHARS, FreeText
from router.structured.answer.text_calls.parse import may_become_calls
from router.structured.constraint import Tool

TOOLS = {"f": Tool("f")}
CALL = '{"name": "f", "arguments": {"a": "%s"}}'


def pieces(text, size):
    return [text[at : at + size] for at in range(0, len(text), size)]


def read(text, size=1):
    """Return the text, and how much of it was let go before a part that may be calls."""
    free, sent = FreeText(TOOLS), 0
    for end, piece in zip(range(size, len(text) + size, size), pieces(text, size), strict=True):
        free.add(piece)
        if not free.may_be_calls:
            sent = min(end, len(text))
    return free, sent


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "text", ["Paris is nice.", "{is} nice", '{"city": "Paris"}', "[1] and [2]", "<p>", "x <think> y"]
)
def test_words_are_sent(text, size):
    free, sent = read(text, size)
    assert (sent, free.reasoning_chars) == (len(text), 0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "text",
    [
        CALL % "x",
        CALL % "</think>",
        CALL % ("x" * 1000),
        "[f(a='</think>",
        "<think>hm {</think>\n<tool_call>",
        "</think>\n[f(",
    ],
)
def test_calls_wait(text, size):
    free, sent = read(text, size)
    assert free.may_be_calls
    assert (sent, free.reasoning_chars) == (0, 0)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("after", [CALL % "x", "\n\n[f(", "\n", ""])
def test_after_a_reasoning_that_the_prompt_opened_calls_wait(after, size):
    reasoning = "Let me see: f or {g}? "
    free, sent = read(f"{reasoning}</think>{after}", size)
    assert free.may_be_calls
    assert free.reasoning_chars == len(reasoning + "</think>")
    assert len(reasoning) - size <= sent <= free.reasoning_chars


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    "text",
    [
        "Hm.</think>\n\nParis.",
        f"Hm.</think>Paris.</think>{CALL}",
        f"I <think> so.</think>{CALL}",
        f"<think>a</think>b</think>{CALL}",
    ],
)
def test_words_after_the_reasoning_are_sent(text, size):
    _, sent = read(text, size)
    assert sent == len(text)


def test_a_reasoning_that_begins_like_a_call():
    free, _ = read('[f] is best.</think>[f(a="', 1000)
    assert (free.may_be_calls, free.reasoning_chars) == (True, len("[f] is best.</think>"))


@pytest.mark.parametrize("text", ["<think>" + "hm, " * 1000, '{"name' + "x" * 1000, '{"name": "' + "x" * 1000])
def test_only_the_beginning_is_looked_at(text):
    free, _ = read(text, 7)
    assert len(free._head) <= MAX_HEAD_CHARS
    assert free.may_be_calls == may_become_calls(TOOLS, text)


@given(st.text(st.sampled_from('<>/think{}"[]:name,argumentsf() ')), st.integers(1, 5))
def test_the_pieces_do_not_matter(text, size):
    whole, piecewise = FreeText(TOOLS), FreeText(TOOLS)
    for piece in pieces(text, 1):
        whole.add(piece)
    for piece in pieces(text, size):
        piecewise.add(piece)
    if whole.may_be_calls:  # what was sent in time stays sent
        assert piecewise.may_be_calls
