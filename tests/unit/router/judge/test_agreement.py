"""How far two answers agree, where nobody graded them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.judge.agreement import Incomparable, agreement

SCHEMA = {"response_format": {"type": "json_object"}}
LABEL = {"structured_outputs": {"choice": ["yes", "no"]}}
TEXT: dict[str, Any] = {}

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text(max_size=3), values, max_size=4)


def said(content: object) -> dict[str, Any]:
    return {"message": {"content": content if isinstance(content, str) else json.dumps(content)}}


def called(*calls: tuple[str, object]) -> dict[str, Any]:
    functions = [{"name": name, "arguments": json.dumps(arguments)} for name, arguments in calls]
    return {"message": {"content": None, "tool_calls": [{"function": function} for function in functions]}}


@given(objects)
def test_an_answer_agrees_with_itself_however_its_keys_are_ordered(value: dict[str, Any]) -> None:
    other = dict(reversed(value.items()))
    assert agreement(SCHEMA, said(value), said(other)) == 1
    assert agreement(TEXT, called(("f", value)), called(("f", other))) == 1


@given(objects, objects)
def test_agreement_is_a_share_and_the_same_both_ways(one: dict[str, Any], other: dict[str, Any]) -> None:
    found = agreement(SCHEMA, said(one), said(other))
    assert 0 <= found <= 1
    assert found == agreement(SCHEMA, said(other), said(one))


@pytest.mark.parametrize(
    ("answer", "standard", "expected"),
    [
        ({"a": 1, "b": "New  York"}, {"a": 1.0, "b": "new york"}, 1),
        ({"a": 1, "b": "x"}, {"a": 1, "b": "y"}, 1 / 2),
        ({"a": 1}, {"a": 1, "b": {"c": [1, 2]}}, 1 / 3),
        ({"a": 1, "more": 2}, {"a": 1}, 1 / 2),
        ({"a": True}, {"a": 1}, 0),
        ({"a": "1"}, {"a": 1}, 0),
        ({"a": []}, {"a": {}}, 0),
        ([1, 2], [1, 3], 1 / 2),
    ],
)
def test_json_agrees_field_by_field(answer: object, standard: object, expected: float) -> None:
    assert agreement(SCHEMA, said(answer), said(standard)) == pytest.approx(expected)
    assert agreement(TEXT, said(answer), said(standard)) == pytest.approx(expected), "whether or not JSON was asked for"


@pytest.mark.parametrize("answer", ["", "not JSON", '{"a": 1, "a": ', "3"])
def test_what_is_not_the_form_agrees_in_nothing(answer: str) -> None:
    assert agreement(SCHEMA, said(answer), said({"a": 1})) == 0


@pytest.mark.parametrize(
    ("answer", "standard", "expected"),
    [
        ([("f", {"x": 1}), ("g", {})], [("g", {}), ("f", {"x": 1.0})], 1),
        ([("f", {"x": 1})], [("f", {"x": 2})], 0),
        ([("f", {"x": 1})], [("g", {"x": 1})], 0),
        ([("f", {"x": 1})], [("f", {"x": 1}), ("f", {"x": 2})], 1 / 2),
        ([("f", {"x": 1, "y": 4}), ("f", {"x": 3, "y": 2})], [("f", {"x": 1, "y": 2}), ("f", {"x": 3, "y": 4})], 0),
        ([("f", {"x": 1}), ("f", {"x": 1})], [("f", {"x": 1})], 1 / 2),
    ],
)
def test_calls_agree_whole(
    answer: list[tuple[str, object]], standard: list[tuple[str, object]], expected: float
) -> None:
    assert agreement(TEXT, called(*answer), called(*standard)) == pytest.approx(expected)


def test_a_text_is_no_call() -> None:
    assert agreement(TEXT, said("I would rather not."), called(("f", {}))) == 0
    assert agreement(TEXT, called(("f", {})), said("There is nothing to call.")) == 0


def test_arguments_that_are_no_json_are_compared_as_they_are() -> None:
    broken = {"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}}
    assert agreement(TEXT, broken, broken) == 1
    assert agreement(TEXT, broken, called(("f", {}))) == 0


def test_the_older_form_of_a_call_is_one() -> None:
    older = {"message": {"content": None, "function_call": {"name": "f", "arguments": '{"x": 1}'}}}
    assert agreement(TEXT, older, called(("f", {"x": 1}))) == 1


@pytest.mark.parametrize(("answer", "expected"), [(" Yes\n", 1), ("no", 0), ("", 0)])
def test_labels_agree_but_for_case_and_spaces(answer: str, expected: float) -> None:
    assert agreement(LABEL, said(answer), said("yes")) == expected
    assert agreement({"guided_regex": "yes|no"}, {"text": answer}, {"text": "yes"}) == expected


def test_free_text_is_left_to_a_judge() -> None:
    with pytest.raises(Incomparable, match="judge"):
        agreement(TEXT, said("Paris."), said("It is Paris."))
    with pytest.raises(Incomparable, match="judge"):
        agreement(TEXT, said({"city": "Paris"}), said("It is Paris."))


def test_a_standard_without_the_form_is_none() -> None:
    with pytest.raises(Incomparable, match="fallback's answer is not JSON"):
        agreement(SCHEMA, said({}), said("Sorry."))
