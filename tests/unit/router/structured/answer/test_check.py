"""A whole answer against its constraint."""

import asyncio
import json
import re

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.check import MAX_LOCAL_CHARS, check_choice, check_message
from router.structured.answer.instance import MAX_EXPLAINED_CHARS, MAX_MESSAGE_CHARS, find_fault
from router.structured.constraint import CallConstraint, Constraint, OutputFormat, Schema, Tool
from router.structured.request.schema import compile_options
from router.structured.workers.grammar_workers import Match, WorkLimitExceeded
from router.types import Verdict


class GrammarWorkers:
    """Does at once what the real one does in processes; grammars are regular expressions."""

    def __init__(self, *, stuck=False):
        self.stuck = stuck
        self.asked = []

    async def match(self, kind, source, text):
        self.asked.append(kind)
        if self.stuck:
            raise WorkLimitExceeded
        if re.fullmatch(source, text):
            return Match("valid")
        # enough for literal sources
        return Match("incomplete" if re.sub(r"\W", "", source).startswith(text) else "invalid")

    async def instance_fault(self, text, instance):
        self.asked.append(instance)
        if self.stuck:
            raise WorkLimitExceeded
        schema = json.loads(text)
        return find_fault(schema, jsonschema_rs.validator_for(schema, **compile_options()), json.loads(instance))

    async def check_message(self, constraint, message, *, at_limit):
        self.asked.append("check_message")
        if self.stuck:
            raise WorkLimitExceeded
        return await check_message(constraint, message, self, at_limit=at_limit)


def schema_of(value, *, heavy=False) -> Schema:
    text = json.dumps(value)
    light = None if heavy else jsonschema_rs.validator_for(text, mask="the value", **compile_options())
    return Schema(text, value, light)


def of(value, *, heavy=False) -> Constraint:
    return Constraint(OutputFormat("json_schema", "response_format", schema_of(value, heavy=heavy)))


def said(content, finish_reason="stop", **message):
    return {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}


def call(arguments, name="weather", id="a", **more):  # noqa: A002
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def called(*calls, content=None, **message):
    return said(content, "tool_calls", tool_calls=list(calls), **message)


def both(constraint, choice, workers=None, **more):
    """Return the verdict and what may leave, and see that nothing else changed."""
    before = json.dumps(choice)
    verdict, may_leave = asyncio.run(check_choice(constraint, choice, workers or GrammarWorkers(), **more))
    assert json.dumps(choice) == before
    says_so = choice.get("finish_reason") == "length"
    assert (may_leave is not choice) == (verdict.word == "repaired" or (verdict.word == "truncated" and not says_so))
    return verdict, may_leave


def judged(constraint, content) -> Verdict:
    return both(constraint, content if isinstance(content, dict) else said(content))[0]


PERSON_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
PERSON, OBJECT = of(PERSON_SCHEMA), Constraint(OutputFormat("json_object", "response_format"))
A = '{"name": "A", "age": 3}'
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOLS = {
    "weather": Tool("weather", schema_of(CITY)),
    "now": Tool("now", schema_of({"type": "object"})),
    "any": Tool("any"),
}
PARIS = '{"city": "Paris"}'
AUTO = Constraint(calls=CallConstraint(TOOLS))
REQUIRED = Constraint(calls=CallConstraint(TOOLS, required=True))
SINGLE = Constraint(calls=CallConstraint(TOOLS, single=True))
LEGACY = Constraint(calls=CallConstraint(TOOLS, legacy=True))
EITHER = Constraint(PERSON.output_format, AUTO.calls)


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
        ({"reasoning": "x"}, None),
    ],
)
def test_thoughts_before_the_answer_move_to_where_they_belong(given, told):
    _, may_leave = both(PERSON, said(f"<think>a or b</think>{A}", **given))
    assert may_leave["message"]["content"] == A
    assert may_leave["message"].get("reasoning_content") == told


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
def test_a_grammar_judges_the_whole_text(kind):
    constraint = Constraint(OutputFormat(kind, kind, source="ab"))
    assert judged(constraint, "ab").word == "valid"
    assert both(constraint, said("`ab`\n"))[1]["message"]["content"] == "ab"
    assert judged(constraint, "a") == Verdict("invalid", "it is incomplete", kind=kind)
    assert judged(constraint, "abc") == Verdict("invalid", f"it does not match the {kind}", kind=kind)
    assert judged(Constraint(OutputFormat(kind, kind, source="a*")), "").word == "valid"


def test_what_cannot_be_judged_in_time_is_invalid():
    stuck = GrammarWorkers(stuck=True)
    for constraint in (Constraint(OutputFormat("regex", "regex", source="x")), of({"type": "object"}, heavy=True)):
        assert both(constraint, said("{}"), stuck)[0].message == "it could not be checked in time"
    large = of({"type": "object", "description": "x" * MAX_EXPLAINED_CHARS})
    assert both(large, said("[]"), stuck)[0].message == "the value does not satisfy the schema"
    assert both(large, said("{}"), stuck)[0].word == "valid"


def test_what_a_heavy_schema_says_is_found_in_the_workshop():
    workers = GrammarWorkers()
    heavy = of(PERSON_SCHEMA, heavy=True)
    assert both(heavy, said(A), workers)[0].word == "valid"
    assert both(heavy, said(f"So: {A}"), workers)[1]["message"]["content"] == A
    assert both(heavy, said('{"name": "A", "age": "x"}'), workers)[0].path == "/age"
    assert len(workers.asked) == 3
    assert both(heavy, said("{"), workers)[0].word == "invalid"
    assert len(workers.asked) == 3


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


@pytest.mark.parametrize(
    ("constraint", "choice", "path", "message"),
    [
        (AUTO, called(call("{}")), "/tool_calls/0/function/arguments", "required"),
        (
            AUTO,
            called(call(PARIS), call('{"city": 3}', id="b")),
            "/tool_calls/1/function/arguments/city",
            'not of type "string"',
        ),
        (
            AUTO,
            called(call(PARIS, "fly")),
            "/tool_calls/0/function/name",
            "'fly' is not one of the functions: 'weather'",
        ),
        (AUTO, called(call(PARIS, None)), "/tool_calls/0/function/name", "not one of the functions"),
        (AUTO, called(call(PARIS[:-1])), "/tool_calls/0/function/arguments", "not strict JSON"),
        (AUTO, called(call('{"city": "a", "city": "b"}')), "/tool_calls/0/function/arguments", "twice"),
        (AUTO, called(call("[]", "any")), "/tool_calls/0/function/arguments", "not a JSON object"),
        (AUTO, called(call('"{}"', "any")), "/tool_calls/0/function/arguments", "not a JSON object"),
        (AUTO, called(call(None)), "/tool_calls/0/function/arguments", "required"),
        (AUTO, called(call(["Paris"])), "/tool_calls/0/function/arguments", "not a JSON object"),
        (AUTO, called(call({"city": float("inf")})), "/tool_calls/0/function/arguments", "JSON cannot represent"),
        (AUTO, called(call({"city": "a", "days": 10**400})), "/tool_calls/0/function/arguments", "too large"),
        (AUTO, called({"id": "a", "type": "function"}), "/tool_calls/0/function", "object"),
        (AUTO, called("weather"), "/tool_calls/0", "object"),
        (AUTO, called(call(PARIS) | {"type": "custom"}), "/tool_calls/0/type", "function"),
        (AUTO, said(None, tool_calls={"a": 1}), "/tool_calls", "array"),
        (AUTO, said(None, function_call={"name": "weather", "arguments": PARIS}), "/function_call", "'tool_calls'"),
        (LEGACY, called(call(PARIS)), "/tool_calls", "'function_call'"),
        (
            LEGACY,
            said(None, function_call={"name": "weather", "arguments": "{}"}),
            "/function_call/arguments",
            "required",
        ),
        (SINGLE, called(call(PARIS), call(PARIS, id="b")), "/tool_calls/1", "at most one"),
        (REQUIRED, said("It is fine."), "", "no function is called"),
        (REQUIRED, said(None), "", "no function is called"),
        (REQUIRED, said('{"name": "fly", "arguments": {}}'), "/tool_calls/0/function/name", "'fly'"),
        (AUTO, said('{"name": "weather", "arguments": {"town": "Paris"}}'), "/tool_calls/0/function/arguments", "city"),
    ],
)
def test_an_invalid_call_says_where_and_why(constraint, choice, path, message):
    verdict = judged(constraint, choice)
    assert (verdict.word, verdict.path, verdict.kind) == ("invalid", path, "tools")
    assert message in verdict.message


@pytest.mark.parametrize(
    ("made", "arguments"),
    [
        (call({"city": "Zoë", "days": 12345678901234567890}), '{"city":"Zoë","days":12345678901234567890}'),
        (call({"x": 0.1}, "any"), '{"x":0.1}'),
        (call(None, "now"), "{}"),
        (call("", "any"), "{}"),
        (call(" \n", "now"), "{}"),
        (call(f"```json\n{PARIS}\n```"), PARIS),
        (call('{"city": "Paris",}'), PARIS),
        ({"function": {"name": "weather", "arguments": PARIS}}, PARIS),
        (call(PARIS, id=None), PARIS),
        (call(PARIS, id=""), PARIS),
        (call(PARIS, id=7), PARIS),
        (call(PARIS, index=0) | {"type": None}, PARIS),
    ],
)
def test_a_call_is_made_good_where_that_is_safe(made, arguments):
    verdict, may_leave = both(AUTO, called(made, content="Well."))
    assert verdict == Verdict("repaired", kind="tools")
    (whole,) = may_leave["message"]["tool_calls"]
    assert whole["type"] == "function"
    assert whole["function"]["arguments"] == arguments
    assert whole["id"] == "a" or re.fullmatch("call_[0-9a-f]{24}", whole["id"])
    assert may_leave["message"]["content"] == "Well."
    assert may_leave["finish_reason"] == "tool_calls"


def test_of_calls_with_one_id_the_first_keeps_it():
    _, may_leave = both(AUTO, called(call(PARIS), call(PARIS), call(PARIS, id="b")))
    first, second, third = (made["id"] for made in may_leave["message"]["tool_calls"])
    assert (first, third) == ("a", "b")
    assert second.startswith("call_")


WRITTEN = '{"name": "weather", "arguments": {"city": "Paris"}}'


@pytest.mark.parametrize(
    "content",
    [
        WRITTEN,
        WRITTEN.replace("arguments", "parameters"),
        f"```json\n{WRITTEN}\n```",
        f" [{WRITTEN}] ",
        f"<tool_call>\n{WRITTEN}\n</tool_call>",
        f"<think>{{}}</think>\n\n<tool_call>{WRITTEN}</tool_call>\n",
        '{"type": "function", "name": "weather", "parameters": {"city": "Paris"}}',
        f'{{"type": "function", "id": "x", "function": {WRITTEN}}}',
        '{"name": "weather", "arguments": "{\\"city\\":\\"Paris\\"}"}',
    ],
)
@pytest.mark.parametrize("constraint", [AUTO, REQUIRED, SINGLE, LEGACY, EITHER])
def test_a_call_written_as_text_becomes_a_call(constraint, content):
    verdict, may_leave = both(constraint, said(content))
    assert verdict == Verdict("repaired", kind="tools")
    message = may_leave["message"]
    assert message["content"] is None
    assert message.get("reasoning_content") == ("{}" if "think" in content else None)
    if constraint is LEGACY:
        function = message["function_call"]
    else:
        (made,) = message["tool_calls"]
        assert re.fullmatch("call_[0-9a-f]{24}", made["id"])
        assert made["type"] == "function"
        function = made["function"]
    assert function == {"name": "weather", "arguments": '{"city":"Paris"}'}
    assert may_leave["finish_reason"] == ("function_call" if constraint is LEGACY else "tool_calls")


@pytest.mark.parametrize("content", [f"[{WRITTEN}, {WRITTEN}]", f"<tool_call>{WRITTEN}</tool_call>" * 2])
def test_several_calls_may_be_written(content):
    _, may_leave = both(AUTO, said(content))
    assert len({made["id"] for made in may_leave["message"]["tool_calls"]}) == 2
    assert judged(SINGLE, content).word == "invalid"


def test_where_the_form_fits_it_is_the_form():
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
        (REQUIRED, said("Well, "), False),
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
def test_a_long_answer_is_judged_in_the_workshop(constraint, choice, word):
    workers = GrammarWorkers()
    assert both(constraint, choice, workers, at_limit=True)[0].word == word
    assert workers.asked[0] == "check_message"
    verdict, may_leave = both(constraint, choice, GrammarWorkers(stuck=True), at_limit=True)
    assert (verdict.word, verdict.message) == ("invalid", "it could not be checked in time")
    assert may_leave is choice


def test_messages_stay_short_and_do_not_repeat_the_answer():
    long = "x" * 100_000
    for value, content in (
        ({"maxLength": 3}, json.dumps(long)),
        ({"enum": ["y" * 1_000]}, json.dumps("x" * 500)),
        ({"additionalProperties": False}, json.dumps({"x" * 500: 1})),
        ({"additionalProperties": {"type": "null"}}, json.dumps({long: 1})),
        ({}, json.dumps({long: 1})[:-1] + f', "{long}": 1}}'),
    ):
        verdict = judged(of(value), content)
        assert verdict.word == "invalid"
        assert len(verdict.message) <= MAX_MESSAGE_CHARS
        assert len(verdict.path) <= MAX_MESSAGE_CHARS
    assert len(judged(AUTO, called(call("{}", long))).message) <= MAX_MESSAGE_CHARS


def test_a_pattern_that_backtracks_without_end_is_invalid_not_a_hang():
    assert judged(of({"pattern": r"^(a|aa)+\1c$"}), json.dumps("a" * 60 + "b")).word == "invalid"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=15)
TYPES = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string"}


def narrow(value) -> dict:
    """Return a schema that this value satisfies, as narrow as types and names make it."""
    if isinstance(value, dict):
        return {
            "type": "object",
            "properties": {key: narrow(part) for key, part in value.items()},
            "required": list(value),
            "additionalProperties": False,
        }
    if isinstance(value, list):
        return {"type": "array", "prefixItems": [narrow(part) for part in value], "items": False} if value else {}
    return {"type": TYPES[type(value)]}


@given(VALUES)
def test_a_value_satisfies_the_schema_made_from_it(value):
    assert judged(of(narrow(value)), json.dumps(value)).word == "valid"


@given(st.dictionaries(st.text(), VALUES, min_size=1), st.data())
def test_a_missing_a_foreign_and_a_doubled_key_are_invalid(value, data):
    constraint = of(narrow(value))
    key = data.draw(st.sampled_from(sorted(value)))
    missing = {name: part for name, part in value.items() if name != key}
    foreign = value | {key + "_": None}
    assert judged(constraint, json.dumps(missing)).word == "invalid"
    if key + "_" not in value:
        assert judged(constraint, json.dumps(foreign)).word == "invalid"
    doubled = json.dumps(value)[:-1] + f", {json.dumps(key)}: 1}}"
    assert judged(constraint, doubled).word == "invalid"


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
