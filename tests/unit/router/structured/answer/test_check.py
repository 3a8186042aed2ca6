"""A whole answer against its constraint."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.check import MAX_LOCAL_CHARS
from router.structured.answer.instance import MAX_EXPLAINED_CHARS
from router.structured.constraint import Constraint, OutputFormat
from router.types import Verdict
from tests.support.answers import (
    AUTO,
    EITHER,
    LEGACY,
    OBJECT,
    PARIS,
    PERSON,
    REQUIRED,
    SINGLE,
    VALUES,
    WRITTEN,
    A,
    FakeGrammarWorkers,
    both,
    call,
    called,
    judged,
    of,
    said,
)


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        (said(A), "valid"),
        (said(' \n{"age": 3.0, "name": "\\u0041"}\t'), "valid"),
        ({"text": A, "finish_reason": "stop"}, "valid"),
        (said('{"name": "A"', "length"), "truncated"),
        (said(A, "length"), "truncated"),
        (said(None, refusal="I will not."), "refused"),
        (said("", "content_filter"), "refused"),
        (called(call(PARIS)), "invalid"),
        (called(call(PARIS), content=A), "invalid"),
        (said(None, "function_call", function_call={"name": "a"}), "invalid"),
        (said(None), "invalid"),
        (said(None, tool_calls=[]), "invalid"),
        (said(A, tool_calls=[]), "valid"),
        (said(""), "invalid"),
        (said("  \n"), "invalid"),
        (said([{"type": "text", "text": "{}"}]), "invalid"),
        ({"finish_reason": None}, "invalid"),
        ({"message": None, "finish_reason": None}, "invalid"),
        ({"message": "x", "finish_reason": 3}, "invalid"),
    ],
)
def test_the_word_of_a_choice(choice, word):
    assert judged(PERSON, choice).word == word


@pytest.mark.parametrize(
    "content",
    [
        f"{A}}}",
        f"{A}\n{A}",
        '{"name": "A", "age": 3, "age": 4}',
        '{"name": "A", "age": NaN}',
        '{"name": "A", "age": 1e999}',
        '{"name": "A\n", "age": 3}',
        '{"name": "\\ud800", "age": 3}',
        '{"name": "\ud800", "age": 3}',
        '{"name": "A", "age": "3"}',
        '{"name": "A", "age": 3.5}',
        '{"name": "A", "age": 3, "x": 1}',
        '{"name": "A"}',
        '```json\n{"name": "A"}\n```',
        "{'name': 'A', 'age': 3}",
        '"A"',
        "[" * 100_000,
        '{"name":' * 50_000,
    ],
)
def test_an_invalid_content_is_never_valid(content):
    verdict = judged(PERSON, content)
    assert verdict.word == "invalid"
    assert verdict.message
    assert verdict.word == "invalid"


@pytest.mark.parametrize(
    "content",
    [f"```json\n{A}\n```", f"Here it is: {A}", f"\ufeff{A}", '{"name": "A", "age": 3,}', f"{A}\xa0"],
)
def test_what_is_surely_meant_is_what_leaves(content):
    verdict, may_leave = both(PERSON, said(content))
    assert verdict == Verdict("repaired", kind="json_schema")
    assert may_leave == said(may_leave["message"]["content"])
    assert json.loads(may_leave["message"]["content"]) == json.loads(A)
    assert both(PERSON, {"text": content, "finish_reason": "stop"})[1] == {
        "text": may_leave["message"]["content"],
        "finish_reason": "stop",
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "a or b"),
        ({"reasoning_content": "x"}, "x"),
        ({"reasoning_content": ""}, "a or b"),
    ],
)
def test_thoughts_before_the_answer_move_to_where_they_belong(given, told):
    _, may_leave = both(PERSON, said(f"<think>a or b</think>{A}", **given))
    assert may_leave["message"]["content"] == A
    assert may_leave["message"].get("reasoning_content") == told


def test_the_prompt_may_have_opened_the_reasoning():
    _, may_leave = both(PERSON, said(f"a {{}} or b?\n</think>\n\n```json\n{A}\n```"))
    assert (may_leave["message"]["content"], may_leave["message"]["reasoning_content"]) == (A, "a {} or b?")
    choice = Constraint(OutputFormat("choice", "guided_choice", choices=("yes", "no")))
    _, may_leave = both(choice, said("yes or no?</think>\n\nno."))
    assert (may_leave["message"]["content"], may_leave["message"]["reasoning_content"]) == ("no", "yes or no?")
    assert judged(PERSON, f"Perhaps {A}.</think>I do not know.").word == "invalid"


def test_the_end_of_reasoning_inside_a_string_is_a_part_of_it():
    _, may_leave = both(OBJECT, said('{"a": "</think>",}'))
    assert may_leave["message"]["content"] == '{"a": "</think>"}'
    assert "reasoning_content" not in may_leave["message"]


@pytest.mark.parametrize("content", ["[]", "1", "null", '"{}"', "true", "So: [1]"])
def test_json_object_wants_an_object(content):
    assert judged(OBJECT, content) == Verdict("invalid", "the value is not a JSON object")
    assert judged(OBJECT, '{"a": [1]}').word == "valid"


@pytest.mark.parametrize(
    ("content", "word", "text"),
    [
        ("yes", "valid", "yes"),
        ("yes.", "repaired", "yes"),
        (' "no" ', "repaired", "no"),
        ("Yes", "invalid", None),
        ("", "invalid", None),
        ("yes no", "invalid", None),
    ],
)
def test_a_choice_is_one_of_them(content, word, text):
    constraint = Constraint(OutputFormat("choice", "guided_choice", choices=("yes", "no")))
    verdict, may_leave = both(constraint, said(content))
    assert (verdict.word, verdict.kind) == (word, "choice")
    assert text is None or may_leave["message"]["content"] == text
    assert word != "invalid" or verdict.message == "it is not one of 'yes', 'no'"


@pytest.mark.parametrize("kind", ["regex", "grammar"])
def test_a_grammar_must_match_the_whole_text(kind):
    constraint = Constraint(OutputFormat(kind, kind, source="ab"))
    assert judged(constraint, "ab").word == "valid"
    assert both(constraint, said("`ab`\n"))[1]["message"]["content"] == "ab"
    assert judged(constraint, "a") == Verdict("invalid", "it is incomplete", kind=kind)
    assert judged(constraint, "abc") == Verdict("invalid", f"it does not match the {kind}", kind=kind)
    assert judged(Constraint(OutputFormat(kind, kind, source="a*")), "").word == "valid"


def test_what_cannot_be_checked_in_time_is_invalid():
    stuck = FakeGrammarWorkers(stuck=True)
    for constraint in (Constraint(OutputFormat("regex", "regex", source="x")), of({"type": "object"}, heavy=True)):
        assert both(constraint, said("{}"), stuck)[0].message == "it could not be checked in time"
    large = of({"type": "object", "description": "x" * MAX_EXPLAINED_CHARS})
    assert both(large, said("[]"), stuck)[0].message == "the value does not satisfy the schema"
    assert both(large, said("{}"), stuck)[0].word == "valid"


@pytest.mark.parametrize(
    ("constraint", "choice"),
    [
        (AUTO, called(call(PARIS))),
        (REQUIRED, called(call(PARIS), call("{}", "now", "b"), content="Let me see.")),
        (SINGLE, called(call(PARIS))),
        (AUTO, called(call('{"x": 1}', "any"))),
        (EITHER, called(call(PARIS))),
        (EITHER, called(call(PARIS), content="no JSON")),
        (LEGACY, said(None, "function_call", function_call={"name": "weather", "arguments": PARIS})),
        (AUTO, said("It is fine.")),
        (AUTO, said("")),
        (AUTO, said(None)),
        (AUTO, said('{"name": "fly", "arguments": {}}')),
        (AUTO, said('{"name": "weather"}')),
        (AUTO, said('{"name": "weather", "arguments": {"city": "Paris"}, "note": 1}')),
        (AUTO, said('You could say {"name": "weather", "arguments": {"city": "Paris"}}')),
        (AUTO, said("[]")),
        (EITHER, said(A)),
    ],
)
def test_a_valid_answer_leaves_as_it_came(constraint, choice):
    assert both(constraint, choice)[0].word == "valid"


def test_content_that_has_the_format_is_no_call():
    either = Constraint(OBJECT.output_format, AUTO.calls)
    assert both(either, said(WRITTEN))[0] == Verdict("valid", kind="json_object")
    # but not by taking the call's tags off
    assert both(either, said(f"<tool_call>{WRITTEN}</tool_call>"))[0] == Verdict("repaired", kind="tools")
    assert both(EITHER, said(f"So: {A}"))[0] == Verdict("repaired", kind="json_schema")
    assert judged(EITHER, "It is fine.").kind == "json_schema"


@pytest.mark.parametrize(
    ("constraint", "choice", "is_cut"),
    [
        (PERSON, said('{"name": "A", "ag'), True),
        (PERSON, said('```json\n{"name": "A'), True),
        (PERSON, said("<think>Well, "), True),
        (PERSON, said(""), True),
        (PERSON, said(None, reasoning_content="Well, "), True),
        (PERSON, {"text": "{", "finish_reason": None}, True),
        (PERSON, said('{"name": "A"}'), False),
        (PERSON, said('{"name": NaN'), False),
        (PERSON, said("I am sorry"), False),
        (OBJECT, said('{"a": [1'), True),
        (Constraint(OutputFormat("choice", "c", choices=("yes", "no"))), said("ye"), True),
        (Constraint(OutputFormat("choice", "c", choices=("yes", "no"))), said("yo"), False),
        (Constraint(OutputFormat("regex", "r", source="ab")), said("a"), True),
        (Constraint(OutputFormat("regex", "r", source="ab")), said("b"), False),
        (AUTO, called(call(PARIS), call('{"city": "Pa', id="b")), True),
        (AUTO, called(call("")), True),
        (AUTO, called(call('{"city": "Pa'), call(PARIS, id="b")), False),
        (AUTO, called(call('{"city": 3}')), False),
        (LEGACY, said(None, function_call={"name": "weather", "arguments": '{"ci'}), True),
        (REQUIRED, said('{"name": "weather", "argu'), True),
        (REQUIRED, said('<tool_call>\n{"name": "weather", "argu'), True),
        (REQUIRED, said("[weather(city='Pa"), True),
        (REQUIRED, said("<tool_call>\n<function=weather>\n<parameter=city>\nPa"), True),
        (REQUIRED, said("Which city?</think><tool_call>"), True),
        (REQUIRED, said("Well, "), False),
        (PERSON, said('Who?</think>{"name": "A'), True),
    ],
)
def test_an_answer_cut_at_the_limit_says_so_whatever_it_said(constraint, choice, is_cut):
    verdict, may_leave = both(constraint, choice, at_limit=True)
    assert verdict.word == ("truncated" if is_cut else "invalid")
    assert may_leave["finish_reason"] == ("length" if is_cut else choice["finish_reason"])
    assert judged(constraint, choice).word == "invalid"


def test_an_answer_that_ends_right_at_the_limit_is_whole():
    assert both(PERSON, said(A), at_limit=True)[0].word == "valid"
    assert both(PERSON, said(f"```json\n{A}"), at_limit=True)[0].word == "repaired"


LONG = "x" * MAX_LOCAL_CHARS


@pytest.mark.parametrize(
    ("constraint", "choice", "word"),
    [
        (of({"type": "string"}), said(json.dumps(LONG)), "valid"),
        (of({"type": "string"}), said(f"```json\n{json.dumps(LONG)}\n```"), "repaired"),
        (of({"type": "string"}), {"text": f"\ufeff{json.dumps(LONG)}", "finish_reason": "stop"}, "repaired"),
        (of({"type": "integer"}), said(json.dumps(LONG)), "invalid"),
        (of({"type": "string"}), said(f'"{LONG}'), "truncated"),
        (AUTO, called(call(json.dumps({"city": LONG}))), "valid"),
        (AUTO, called(call({"city": LONG})), "repaired"),
        (LEGACY, said(None, function_call={"name": "weather", "arguments": f'{{"{LONG}'}), "truncated"),
    ],
)
def test_a_long_answer_is_checked_by_a_worker(constraint, choice, word):
    workers = FakeGrammarWorkers()
    assert both(constraint, choice, workers, at_limit=True)[0].word == word
    assert workers.asked[0] == "check_message"
    verdict, may_leave = both(constraint, choice, FakeGrammarWorkers(stuck=True), at_limit=True)
    assert (verdict.word, verdict.message) == ("invalid", "it could not be checked in time")
    assert may_leave is choice


@given(VALUES, VALUES, st.sampled_from([PERSON, OBJECT, AUTO, REQUIRED, LEGACY, EITHER]), st.booleans())
def test_whatever_an_upstream_sends_gets_a_verdict(message, calls, constraint, at_limit):
    for choice in (
        {"message": message, "finish_reason": calls},
        said(message, tool_calls=calls),
        called({"function": message}, calls, message),
        called(call(message), call(calls, id=message)),
        said(json.dumps(message), function_call=calls),
    ):
        both(constraint, choice, at_limit=at_limit)


@pytest.mark.parametrize("content", [None, "", " \n"])
@pytest.mark.parametrize("thoughts", [A, f"\n{A}\n", f"```json\n{A}\n```", f"Hm.</think>{A}"])
def test_an_answer_that_stands_in_the_thoughts_is_moved(thoughts, content):
    verdict, may_leave = both(PERSON, said(content, reasoning_content=thoughts))
    assert verdict == Verdict("repaired", kind="json_schema")
    assert may_leave["message"]["content"] == A
    assert may_leave["message"].get("reasoning_content") == ("Hm." if "Hm." in thoughts else None)


def test_calls_that_stand_in_the_thoughts_are_moved():
    written = f"<tool_call>{WRITTEN}</tool_call>"
    _, may_leave = both(REQUIRED, said(None, reasoning_content=written))
    assert may_leave["message"]["tool_calls"][0]["function"]["name"] == "weather"
    assert may_leave["finish_reason"] == "tool_calls"
    assert "reasoning_content" not in may_leave["message"]


@pytest.mark.parametrize(
    ("constraint", "choice"),
    [
        (PERSON, said(None, reasoning_content=f"I could say {A}, or not.")),  # words around it: it was considered
        (PERSON, said(None, reasoning_content='{"name": "A"}')),
        (PERSON, said("I do not know.", reasoning_content=A)),
        (
            Constraint(OutputFormat("choice", "guided_choice", choices=("yes", "no"))),
            said(None, reasoning_content="yes"),
        ),
        (REQUIRED, said(None, reasoning_content="Hm.")),
    ],
)
def test_thoughts_are_no_answer_by_chance(constraint, choice):
    verdict, may_leave = both(constraint, choice)
    assert verdict.word == "invalid"
    assert may_leave is choice
