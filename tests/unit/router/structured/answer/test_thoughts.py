"""Thoughts that a server left in the content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.thoughts import ThoughtSeparator, begins_inside_thoughts, separate_thoughts


@pytest.mark.parametrize(
    ("content", "thoughts", "answer"),
    [
        ("<think>Which city?</think>Paris.", "Which city?", "Paris."),
        ("\n<think>\nWhich city?\n</think>\n\nParis.", "Which city?", "Paris."),
        ("Which city?\n</think>\n\nParis.", "Which city?", "Paris."),
        ("<think>Which city", "Which city", ""),
        ("<think>\n\n</think>\n\nParis.", None, "Paris."),
        ("</think>Paris.", None, "Paris."),
    ],
)
def test_they_have_a_field_of_their_own(content: str, thoughts: str | None, answer: str) -> None:
    message = separate_thoughts({"role": "assistant", "content": content})
    assert (message.get("reasoning_content"), message["content"]) == (thoughts, answer)


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "Paris.",
        ["<think>"],
        "The tag `</think>` ends it.",
        'It says "</think>".',
        "First <think> then </think>.",
    ],
)
def test_a_text_without_thoughts_stays(content: Any) -> None:
    message = {"content": content}
    assert separate_thoughts(message) is message


def test_thoughts_of_the_server_come_first() -> None:
    message = separate_thoughts({"content": "more</think>Paris.", "reasoning_content": "Hm."})
    assert message == {"content": "Paris.", "reasoning_content": "Hm.\nmore"}


def test_a_model_whose_prompt_opens_its_thoughts_is_recognized() -> None:
    assert begins_inside_thoughts("Hm.</think>Paris.")
    assert not begins_inside_thoughts("<think>Hm.</think>Paris.")
    assert not begins_inside_thoughts("`</think>`")
    assert not begins_inside_thoughts(None)


def streamed(pieces: list[str], *, finish: str = "stop", begins_inside: bool = False) -> tuple[str, str, bool]:
    """Return the thoughts and the content that a client puts together, and whether the separator was wrong."""
    separator = ThoughtSeparator(1, begins_inside=begins_inside)
    events: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": piece} for piece in pieces), {}]
    thoughts = content = ""
    for at, delta in enumerate(events):
        reason = finish if at == len(events) - 1 else None
        separator.feed({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
        thoughts += delta.get("reasoning_content") or ""
        content += delta.get("content") or ""
    assert separator.is_done
    return thoughts, content, separator.was_wrong


@given(
    st.sampled_from(["<think>Hm, <b>\n</think>\n\nParis < Rome.", " \n<think>Hm</think>x", "Paris <is> nice", "<thin"]),
    st.integers(1, 60),
)
def test_a_stream_however_it_is_cut(text: str, size: int) -> None:
    whole = separate_thoughts({"content": text})
    thoughts, content, _ = streamed([text[at : at + size] for at in range(0, len(text), size)])
    assert (thoughts.strip(), content) == (whole.get("reasoning_content", ""), whole["content"])


@given(st.integers(1, 30))
def test_an_end_without_a_beginning_where_it_is_expected(size: int) -> None:
    text = "Which city?</think>\n\nParis."
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert streamed(pieces, begins_inside=True) == ("Which city?", "Paris.", False)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    thoughts, content, _ = streamed(["<think>", *pieces], begins_inside=True)
    assert (thoughts, content) == ("Which city?", "Paris.")


def test_an_answer_that_has_no_thoughts_after_all_is_the_content() -> None:
    assert streamed(["Pa", "ris."], begins_inside=True) == ("Paris.", "Paris.", True)
    assert streamed(["Which ", "ci"], finish="length", begins_inside=True) == ("Which ci", "", False)


def test_a_server_that_separates_them_is_believed() -> None:
    separator = ThoughtSeparator(1, begins_inside=True)
    assert not separator.feed({"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]})
    chunk = {"choices": [{"index": 0, "delta": {"content": "Paris."}}]}
    assert not separator.feed(chunk)
    assert separator.is_done


def test_an_end_in_the_first_piece_is_seen_in_time() -> None:
    assert streamed(["Hm.</think>\n\nParis."]) == ("Hm.", "Paris.", False)


def test_thoughts_without_an_end_are_thoughts() -> None:
    assert streamed(["<think>", "Hm</th"], finish="length") == ("Hm</th", "", False)


@pytest.mark.parametrize(
    "choice", [{}, {"index": "0", "delta": {}}, {"index": 0, "delta": None}, {"index": 0, "text": "x"}]
)
def test_choices_of_another_form_are_left_alone(choice: dict[str, Any]) -> None:
    before = dict(choice)
    assert not ThoughtSeparator(1).feed({"choices": [choice]})
    assert choice == before


def test_each_choice_has_its_own_thoughts() -> None:
    separator = ThoughtSeparator(2)
    one = {"choices": [{"index": 0, "delta": {"content": "<think>a"}}, {"index": 1, "delta": {"content": "b"}}]}
    assert separator.feed(one)
    assert [choice["delta"] for choice in one["choices"]] == [{"reasoning_content": "a"}, {"content": "b"}]
    assert not separator.is_done
