"""Where an answer breaks its schema, and why: in words that help to correct it."""

import jsonschema_rs
import pytest

from router.structured.answer.instance import find_fault
from router.structured.request.schema import compile_options

DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def fault(schema, value):
    return find_fault(schema, jsonschema_rs.validator_for(schema, mask="the value", **compile_options()), value)


@pytest.mark.parametrize(
    ("schema", "value", "path", "message"),
    [
        ({"type": "string"}, 3, "", 'the value is not of type "string", but an integer'),
        ({"type": ["null", "integer"]}, "3", "", "but a string"),
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
        ({"anyOf": [{"type": "null"}, {"properties": {"a": {"type": "null"}}}]}, {"a": 1}, "/a", "null"),
        ({"anyOf": [{"type": "null"}, {"type": "object", "required": ["a"]}]}, {}, "", "none of the 2 branches"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, 3, "", "none of the 2 branches of 'anyOf'"),
        ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, 3, "", "satisfies 2 branches of 'oneOf', exactly one"),
        ({"not": {"type": "string"}}, "x", "", "what 'not' forbids"),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1}, "", '"b" is a required property'),
        ({"if": {"type": "null"}, "else": {"properties": {"a": {"type": "null"}}}}, {"a": 1}, "/a", "null"),
        ({"contains": {"type": "string"}}, [1], "", "'contains'"),
        ({"properties": {"a": False}}, {"a": 1}, "/a", "is not allowed"),
        ({"$schema": DRAFT_7, "items": [{"type": "null"}]}, [1], "/0", "null"),
        ({"format": "date"}, "2024-02-30", "", '"date"'),
        ({"format": "date-time"}, "2024-02-28T12:00:00", "", "with its offset from UTC, such as 2026-01-31T12:00:00Z"),
        ({"properties": {"a": {"format": "uri"}}}, {"a": "example.com"}, "/a", "URI with its scheme"),
        ({"unevaluatedProperties": False}, {"a": 1}, "", "'unevaluatedProperties'"),
    ],
)
def test_an_invalid_value_says_where_and_why(schema, value, path, message):
    found = fault(schema, value)
    assert found.path == path
    assert message in found.message


def test_a_valid_value_has_no_fault():
    assert fault({"type": "string"}, "x") is None


def test_a_deep_failure_under_oneof_is_found_in_no_time():
    """The validator's own report of this takes minutes: every level doubles it."""
    branch = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    value = "x"
    for _ in range(60):
        value = {"a": value}
    assert fault({"oneOf": [branch, {**branch, "required": ["z"]}, {"type": "integer"}]}, value)


def test_what_the_validator_gives_up_is_a_fault():
    assert "backtracking" in fault({"pattern": r"^(a|aa)+\1c$"}, "a" * 60 + "b").message
