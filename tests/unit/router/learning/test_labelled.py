"""Labelled calls: what is read from a line, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.decision import log_odds
from router.errors import BadData
from router.judge.consistency import Vote, score
from router.learning.labelled import CalibrationTerms, read
from tests.support.labelled import REQUEST, TERMS, YES_OR_NO, calls, decode, example, said, written


def test_which_half_teaches_does_not_depend_on_the_order_of_calls_or_keys(tmp_path: Path) -> None:
    lines = calls(40)
    shuffled = [dict(reversed(one.items())) for one in reversed(lines)]
    for one in shuffled:
        one["request"] = {"model": "whatever", **one["request"]}
    halves = [[call.held_out for call in read(written(tmp_path, *of), TERMS, decode)] for of in (lines, shuffled)]
    assert halves[0] == halves[1][::-1]
    assert {True, False} == set(halves[0])


def test_the_confidence_of_a_structured_answer_is_that_of_its_values(tmp_path: Path) -> None:
    pieces = (('{"a": "', -0.5), ("Paris", -0.1), ('"', -0.01), ("}", -0.7))
    tokens = [{"token": text, "bytes": list(text.encode()), "logprob": value} for text, value in pieces]
    choice = {"message": {"content": '{"a": "Paris"}'}, "logprobs": {"content": tokens}}
    free = example(tmp_path, {"small": {"quality": 1, "choice": choice}})
    formed = example(
        tmp_path, {"small": {"quality": 1, "choice": choice}}, REQUEST | {"response_format": {"type": "json_object"}}
    )
    assert free.score == pytest.approx(log_odds(-1.31))
    assert formed.score == pytest.approx(log_odds(-0.11))


def test_a_completion_is_a_call_too(tmp_path: Path) -> None:
    choice = {"text": " yes", "logprobs": {"tokens": [" yes"], "token_logprobs": [-0.3]}}
    found = example(tmp_path, {"small": {"quality": 1, "choice": choice}}, {"prompt": "Is it spam?"})
    assert found.score == pytest.approx(log_odds(-0.3))
    assert found.text == "Is it spam?"


def test_only_a_text_that_is_long_enough_has_a_beginning(tmp_path: Path) -> None:
    terms = CalibrationTerms("auto", ("small",), "large", beginning_tokens=2)
    three, one = ({"small": {"quality": 1, "choice": said("a b c", *of)}} for of in ((-0.1, -0.2, -0.4), (-0.1,)))
    assert example(tmp_path, three, terms=terms).first == pytest.approx(log_odds(-0.3))
    assert example(tmp_path, one, terms=terms).first is None
    assert example(tmp_path, three, YES_OR_NO, terms).first is None
    assert example(tmp_path, three).first is None


def test_ungraded_answers_are_compared_with_the_fallbacks(tmp_path: Path) -> None:
    answers = {"small": {"choice": said("Yes")}, "large": {"choice": said("yes"), "quality": 0.8}}
    assert (one := example(tmp_path, answers, YES_OR_NO)).weak == one.strong == 0.8
    wrong = answers | {"small": {"choice": said("no")}}
    assert example(tmp_path, wrong, YES_OR_NO).weak == 0


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


answers = st.fixed_dictionaries(
    {},
    optional={
        "quality": anything,
        "logprob": anything,
        "agree": anything,
        "usage": anything,
        "choice": st.fixed_dictionaries(
            {}, optional={"message": anything | st.fixed_dictionaries({"content": anything}), "logprobs": anything}
        ),
    },
)


requests = anything | st.fixed_dictionaries(
    {"messages": st.just(REQUEST["messages"])}, optional={"response_format": anything, "tools": anything}
)


@given(request=requests, small=answers, large=answers, task=anything)
def test_a_line_is_a_labelled_call_or_says_what_is_wrong_with_it(
    tmp_path_factory: pytest.TempPathFactory, request: object, small: object, large: object, task: object
) -> None:
    file = written(
        tmp_path_factory.mktemp("data"), {"request": request, "answers": {"small": small, "large": large}, "task": task}
    )
    found, told = [], ""
    try:
        found = list(read(file, TERMS, decode))
    except BadData as error:
        told = str(error)
    assert told.startswith(f"{file}:1: ") or 0 <= found[0].examples["small"].weak <= 1


def test_data_that_are_no_utf_8_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_bytes(b'{"request": {}, "answers": {}, "task": "\xff"}\n')
    with pytest.raises(BadData, match=r"calls\.jsonl:1: "):
        list(read(file, TERMS, decode))


def test_a_call_written_as_text_has_the_confidence_of_its_values_too(tmp_path: Path) -> None:
    pieces = (('{"name": "f", "arguments": {"a": "', -0.9), ('x"', -0.1), ("}}", -0.5))
    choice = {
        "message": {"content": "".join(text for text, _ in pieces)},
        "logprobs": {"content": [{"token": text, "logprob": value} for text, value in pieces]},
    }
    tools = [{"type": "function", "function": {"name": "f"}}]
    plain, called = (
        example(tmp_path, {"small": {"quality": 1, "choice": choice}}, REQUEST | more)
        for more in ({}, {"tools": tools})
    )
    assert plain.score is not None
    assert called.score is not None
    assert called.score > plain.score


def test_of_a_route_that_votes_the_confidence_is_the_share(tmp_path: Path) -> None:
    terms = CalibrationTerms("voting", ("small",), "large", samples=5)
    found = example(tmp_path, {"small": {"quality": 1, "agree": 0.8, "logprob": -1}}, terms=terms)
    assert found.score == score(Vote(index=0, votes=4, total=5))
    assert example(tmp_path, {"small": {"quality": 1, "logprob": -1}}, terms=terms).score is None
