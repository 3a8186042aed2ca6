from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.judge.consistency import Vote, score, vote

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["message", "content", "tool_calls", "function", "name", "arguments", "text"]), inner
        )
    ),
    max_leaves=10,
)


def said(content: Any, finish: str = "stop") -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content}, "finish_reason": finish}


def calls(*made: tuple[str, str]) -> dict[str, Any]:
    tools = [{"id": f"call_{name}", "function": {"name": name, "arguments": told}} for name, told in made]
    return {"message": {"content": None, "tool_calls": tools}, "finish_reason": "tool_calls"}


def test_the_answer_that_most_agree_with_wins() -> None:
    assert vote([said("Rome"), said("Paris"), said("Paris")]) == Vote(1, 2, 3)
    assert vote([said("Rome"), said("Paris"), said("Paris")]).share == pytest.approx(2 / 3)


def test_a_tie_goes_to_the_first() -> None:
    assert vote([said("Oslo"), said("Paris"), said("Rome"), said("Rome"), said("Paris")]) == Vote(1, 2, 5)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (said("Paris"), said("  paris\n")),
        (said("It is  RED."), said("it is red.")),
        (said('{"a": 1, "b": [true, "x"]}'), said('{"b":[true,"x"],"a":1.0}')),
        (said("42"), said("42.0")),
        (calls(("f", '{"a": 1, "b": 2}')), calls(("f", '{"b":2.0,"a":1}'))),
        (calls(("f", "{}"), ("g", '{"a": 1}')), calls(("g", '{"a": 1}'), ("f", ""))),
        (calls(("f", "{}")), {"message": {"function_call": {"name": "f", "arguments": "{}"}}}),
        (said("Paris"), {"text": "paris", "finish_reason": "stop"}),
    ],
)
def test_what_a_program_takes_for_the_same_agrees(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert vote([said("else"), one, other]) == Vote(1, 2, 3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (said("Paris"), said("Paris.")),
        (said('{"a": "x"}'), said('{"a": "X"}')),
        (said('{"a": 1}'), said('{"a": true}')),
        (said('{"a": "1"}'), said('{"a": 1}')),
        (said("[1, 2]"), said("[2, 1]")),
        (calls(("f", "{}")), calls(("g", "{}"))),
        (calls(("f", "{}")), calls(("f", "{}"), ("f", "{}"))),
        (calls(("f", '{"a": 1}')), said('{"a": 1}')),
    ],
)
def test_what_a_program_tells_apart_does_not(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert vote([one, other]) == Vote(0, 1, 2)


@pytest.mark.parametrize(
    "invalid",
    [
        said(""),
        said(" \n"),
        said(None),
        said("Paris", "length"),
        said("Paris", "content_filter"),
        said([{"type": "text"}]),
        calls(("f", "{")),
        calls(("f", "[1]")),
        calls(("f", '{"a": 1, "a": 2}')),
        calls(("f", "{}"), ("g", "{")),
        {"message": {"tool_calls": ["f"]}},
        {"message": "Paris"},
        {},
    ],
)
def test_what_is_empty_cut_or_broken_votes_for_nobody(invalid: dict[str, Any]) -> None:
    assert vote([invalid, invalid, said("Paris")]) == Vote(2, 1, 3)
    assert vote([invalid, invalid]) == Vote(0, 0, 2)


@given(st.lists(ANYTHING.map(lambda choice: choice if isinstance(choice, dict) else {"text": choice}), min_size=1))
def test_any_answers_have_a_result(choices: list[dict[str, Any]]) -> None:
    found = vote(choices)
    assert 0 <= found.index < len(choices)
    assert 0 <= found.votes <= found.total == len(choices)


@given(VALUES, st.integers(1, 5), st.booleans())
def test_json_agrees_with_itself_however_it_is_written(value: Any, times: int, compact: bool) -> None:
    wrapped = {"v": value, "w": 0}
    separators = (",", ":") if compact else None
    again = json.dumps(dict(reversed(wrapped.items())), ensure_ascii=compact, separators=separators)
    assert vote([said(json.dumps(wrapped)), *[said(again)] * times]) == Vote(0, times + 1, times + 1)


def test_the_score_is_the_log_odds_of_the_rule_of_succession() -> None:
    assert score(Vote(0, 4, 8)) == 0.0
    assert score(Vote(0, 5, 5)) == pytest.approx(math.log(6))
    assert score(Vote(0, 0, 5)) == -score(Vote(0, 5, 5))


@given(st.integers(1, 50), st.data())
def test_more_votes_of_as_many_are_surer(of: int, data: st.DataObject) -> None:
    votes = data.draw(st.integers(0, of - 1))
    assert score(Vote(0, votes, of)) < score(Vote(0, votes + 1, of))


@pytest.mark.parametrize("odd", [[], False, 0, "", {"content": None}])
def test_what_else_a_choice_holds_does_not_cost_its_vote(odd: object) -> None:
    said = [{"message": {"content": text}, "finish_reason": "stop"} for text in ("b", "a", "a")]
    assert vote([said[0], *({**one, "logprobs": odd} for one in said[1:])]).index == 1
