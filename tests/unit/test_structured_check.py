"""A whole answer against its constraint."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.check import MAX_MESSAGE, check
from router.structured.plan import HEAVY_CHARS, plan_format
from router.types import Verdict

OBJECT = plan_format({"type": "json_object"})


def of(schema):
    return plan_format({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


PERSON = of(
    {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)


def said(content, finish_reason="stop", **message):
    return {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}


def judged(constraint, content) -> Verdict:
    return check(constraint, said(content))


@pytest.mark.parametrize(
    ("choice", "word"),
    [
        (said('{"name": "A", "age": 3}'), "valid"),
        (said(' \n{"age": 3.0, "name": "\\u0041"}\t'), "valid"),
        ({"text": '{"name": "A", "age": 3}', "finish_reason": "stop"}, "valid"),
        (said('{"name": "A"', "length"), "truncated"),
        (said('{"name": "A", "age": 3}', "length"), "truncated"),
        (said(None, refusal="I will not."), "refused"),
        (said("", "content_filter"), "refused"),
        (said(None, "tool_calls", tool_calls=[{"id": "a"}]), "valid"),
        (said("", "tool_calls", tool_calls=[{"id": "a"}]), "valid"),
        (said("Let me see.", "tool_calls", tool_calls=[{"id": "a"}]), "invalid"),
        (said(None, "function_call", function_call={"name": "a"}), "valid"),
        (said(None), "invalid"),
        (said(None, tool_calls=[]), "invalid"),
        (said(""), "invalid"),
        (said("  \n"), "invalid"),
        (said([{"type": "text", "text": "{}"}]), "invalid"),
        ({}, "invalid"),
        ({"message": None}, "invalid"),
        ({"message": "x", "finish_reason": 3}, "invalid"),
    ],
)
def test_the_word_of_a_choice(choice, word):
    assert check(PERSON, choice).word == word


@pytest.mark.parametrize(
    "content",
    [
        '```json\n{"name": "A", "age": 3}\n```',
        'Here it is: {"name": "A", "age": 3}',
        '{"name": "A", "age": 3}\xa0',
        '{"name": "A", "age": 3}}',
        '{"name": "A", "age": 3,}',
        '{"name": "A", "age": 3, "age": 4}',
        '{"name": "A", "age": NaN}',
        '{"name": "A", "age": 1e999}',
        '{"name": "A\n", "age": 3}',
        '{"name": "\\ud800", "age": 3}',
        '{"name": "\ud800", "age": 3}',
        '\ufeff{"name": "A", "age": 3}',
        '{"name": "A", "age": "3"}',
        '{"name": "A", "age": 3.5}',
        '{"name": "A", "age": 3, "x": 1}',
        '{"name": "A"}',
        '"A"',
        "[" * 100_000,
        '{"name":' * 50_000,
    ],
)
def test_an_invalid_content_is_never_valid(content):
    verdict = judged(PERSON, content)
    assert verdict.word == "invalid"
    assert verdict.message
    assert not verdict.acceptable


@pytest.mark.parametrize("content", ["[]", "1", "null", '"{}"', "true"])
def test_json_object_wants_an_object(content):
    assert judged(OBJECT, content) == Verdict("invalid", "the value is not a JSON object")
    assert judged(OBJECT, '{"a": [1]}').word == "valid"


@pytest.mark.parametrize(
    ("schema", "value", "path", "message"),
    [
        ({"type": "string"}, 3, "", 'the value is not of type "string"'),
        ({"properties": {"a/b~": {"items": {"type": "string"}}}}, {"a/b~": ["x", 3]}, "/a~1b~0/1", "type"),
        ({"required": ["a"]}, {}, "", '"a" is a required property'),
        ({"properties": {"a": {}}, "additionalProperties": False}, {"a": 1, "b": 1}, "", "'b'"),
        ({"additionalProperties": False}, {"b": 1}, "", "'b'"),
        ({"properties": {"a": {"enum": ["x", "y"]}}}, {"a": "z"}, "/a", 'is not one of "x" or "y"'),
        ({"items": {"properties": {"a": {"minimum": 3}}}}, [{"a": 3}, {"a": 2}], "/1/a", "minimum of 3"),
        ({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}, ["x", "y"], "/1", "integer"),
        ({"additionalProperties": {"type": "string"}}, {"k": 1}, "/k", "string"),
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"properties": {"c": {"type": "null"}}}}}, {"c": 1}, "/c", "null"),
        ({"allOf": [{}, {"properties": {"a": {"maxLength": 1}}}]}, {"a": "xx"}, "/a", "longer than 1"),
        # the one branch that is meant
        ({"anyOf": [{"type": "null"}, {"type": "object", "required": ["a"]}]}, {}, "", "'anyOf'"),
        ({"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "null"}}}]}, {"a": 1}, "/a", "null"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 3, "", "'anyOf'"),
        ({"not": {"type": "string"}}, "x", "", "'not'"),
        ({"contains": {"type": "string"}}, [1], "", "'contains'"),
        ({"properties": {"a": False}}, {"a": 1}, "/a", "is not allowed"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "null"}]}, [1], "/0", "null"),
        ({"format": "date"}, "2024-02-30", "", '"date"'),
        ({"unevaluatedProperties": False}, {"a": 1}, "", "'unevaluatedProperties'"),
    ],
)
def test_an_invalid_answer_says_where_and_why(schema, value, path, message):
    verdict = judged(of(schema), json.dumps(value))
    assert (verdict.word, verdict.path) == ("invalid", path)
    assert message in verdict.message


def test_of_a_heavy_schema_only_the_verdict_is_known(monkeypatch):
    schema = {"properties": {"a": {"type": "string"}}, "required": ["a"]}
    light, heavy = of(schema), of(schema | {"description": "x" * HEAVY_CHARS})
    assert judged(light, '{"a": 1}').path == "/a"

    def never(*_):
        raise AssertionError("it is not taken apart")

    monkeypatch.setattr("router.structured.check.locate", never)
    assert judged(heavy, '{"a": "x"}') == Verdict("valid")
    for content in ('{"a": 1}', "{}"):
        assert judged(heavy, content) == Verdict("invalid", "the value does not satisfy the schema")
    assert "not strict JSON" in judged(heavy, '{"a": ').message
    assert check(heavy, said("{", "length")).word == "truncated"


def test_messages_stay_short_and_do_not_repeat_the_answer():
    for schema, content in (
        ({"maxLength": 3}, json.dumps("x" * 1_000_000)),
        ({"enum": ["y" * 10_000]}, json.dumps("x" * 1_000_000)),
        ({"additionalProperties": False}, json.dumps({"x" * 1_000_000: 1})),
        ({"additionalProperties": {"type": "null"}}, json.dumps({"x" * 1_000_000: 1})),
        ({}, json.dumps({"x" * 1_000_000: 1})[:-1] + ', "' + "x" * 1_000_000 + '": 1}'),
    ):
        verdict = judged(of(schema), content)
        assert verdict.word == "invalid"
        assert len(verdict.message) <= MAX_MESSAGE
        assert len(verdict.path) <= MAX_MESSAGE


def test_a_deep_failure_under_oneof_is_found_in_no_time():
    """The validator's own report of this takes minutes: every level doubles it."""
    branch = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    constraint = of({"oneOf": [branch, {**branch, "required": ["z"]}, {"type": "integer"}]})
    content = '{"a":' * 60 + '"x"' + "}" * 60
    assert judged(constraint, content).word == "invalid"  # else the suite's time limit ends it


def test_a_pattern_that_backtracks_without_end_is_invalid_not_a_hang():
    assert judged(of({"pattern": r"^(a|aa)+\1c$"}), json.dumps("a" * 60 + "b")).word == "invalid"


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=15)
TYPES = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string"}


def schema_of(value) -> dict:
    """Return a schema that this value satisfies, as narrow as types and names make it."""
    if isinstance(value, dict):
        return {
            "type": "object",
            "properties": {key: schema_of(part) for key, part in value.items()},
            "required": list(value),
            "additionalProperties": False,
        }
    if isinstance(value, list):
        return {"type": "array", "prefixItems": [schema_of(part) for part in value], "items": False} if value else {}
    return {"type": TYPES[type(value)]}


@given(VALUES)
def test_a_value_satisfies_the_schema_made_from_it(value):
    assert judged(of(schema_of(value)), json.dumps(value)) == Verdict("valid")


@given(st.dictionaries(st.text(), VALUES, min_size=1), st.data())
def test_a_missing_a_foreign_and_a_doubled_key_are_invalid(value, data):
    constraint = of(schema_of(value))
    key = data.draw(st.sampled_from(sorted(value)))
    missing = {name: part for name, part in value.items() if name != key}
    foreign = value | {key + "_": None}
    assert judged(constraint, json.dumps(missing)).word == "invalid"
    if key + "_" not in value:
        assert judged(constraint, json.dumps(foreign)).word == "invalid"
    doubled = json.dumps(value)[:-1] + f", {json.dumps(key)}: {json.dumps(value[key])}}}"
    verdict = judged(constraint, doubled)
    assert verdict.word == "invalid"
    assert "twice" in verdict.message


@given(st.text(), st.text())
def test_any_text_gets_a_verdict(content, noise):
    for text in (content, '{"name": "A", "age": 3}' + noise, noise + '{"name": "A"}'):
        assert judged(PERSON, text).word in ("valid", "invalid")
