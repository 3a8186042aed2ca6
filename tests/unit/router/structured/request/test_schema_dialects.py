"""Schemas of older drafts and other dialects, read as they were meant."""

import json

import jsonschema_rs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.formats import WANTED
from router.structured.request.schema_dialects import may_be_dialect, read_dialect

DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def one(schema):
    return {"type": "object", "properties": {"a": schema}}


@pytest.mark.parametrize(
    ("written", "meant", "valid", "invalid"),
    [
        ({"type": "string", "nullable": True}, {"type": ["string", "null"]}, [None, "x"], [3]),
        ({"type": ["string", "null"], "nullable": True}, {"type": ["string", "null"]}, [None], [3]),
        (
            {"type": "string", "enum": ["a"], "nullable": True},
            {"type": ["string", "null"], "enum": ["a", None]},
            [None, "a"],
            ["b"],
        ),
        (
            {"allOf": [{"type": "string"}], "nullable": True, "description": "d"},
            {"description": "d", "anyOf": [{"allOf": [{"type": "string"}]}, {"type": "null"}]},
            [None, "x"],
            [3],
        ),
        (
            {"type": "number", "minimum": 1, "exclusiveMinimum": True},
            {"type": "number", "exclusiveMinimum": 1},
            [2],
            [1],
        ),
        ({"type": "number", "maximum": 1, "exclusiveMaximum": False}, {"type": "number", "maximum": 1}, [1], [2]),
        ({"type": "number", "exclusiveMinimum": True}, {"type": "number"}, [1], ["a"]),
        (
            {"type": "object", "properties": {"b": {"type": "string", "required": True}, "c": {"required": False}}},
            {"type": "object", "properties": {"b": {"type": "string"}, "c": {}}, "required": ["b"]},
            [{"b": "x"}],
            [{}],
        ),
        (
            {"type": "array", "items": {"type": "string", "required": True}},
            {"type": "array", "items": {"type": "string"}},
            [["x"]],
            [[3]],
        ),
        (
            {"items": [{"type": "string"}], "additionalItems": False},
            {"prefixItems": [{"type": "string"}], "items": False},
            [["x"]],
            [[3], ["x", 3]],
        ),
        ({"type": "STRING"}, {"type": "string"}, ["x"], [3]),
        ({"type": "string", "enum": None, "default": None}, {"type": "string", "default": None}, ["x"], [3]),
        ({"type": "float"}, {"type": "number"}, [1.5], ["x"]),
        ({"type": ["int", "NULL"]}, {"type": ["integer", "null"]}, [1, None], ["x"]),
        ({"type": "any"}, {}, [1, "x", None], []),
        ({"type": "string", "pattern": "^a]$"}, {"type": "string", "pattern": "^a\\]$"}, ["a]"], ["a"]),
        (
            {"type": "object", "patternProperties": {"^[\\w-.]+$": {"type": "dict"}}},
            {"type": "object", "patternProperties": {"^[\\w\\-.]+$": {"type": "object"}}},
            [{"a.b": {}}],
            [{"a.b": 3}],
        ),
    ],
    ids=str,
)
def test_a_dialect_is_read_as_meant(written, meant, valid, invalid):
    assert may_be_dialect(msgspec.json.encode(one(written)).decode())
    before = json.dumps(one(written))
    read = read_dialect(one(written))
    assert (read.schema, read.change) == (one(meant), "rewritten")
    assert json.dumps(one(written)) == before, "what the client sent is not modified"
    validator = jsonschema_rs.validator_for(read.schema)
    assert all(validator.is_valid({"a": value}) for value in valid)
    assert not any(validator.is_valid({"a": value}) for value in invalid)


def test_references_still_lead_somewhere():
    schema = {"$ref": "#/definitions/a", "nullable": True, "definitions": {"a": {"type": "string"}}}
    validator = jsonschema_rs.validator_for(read_dialect(schema).schema)
    assert [validator.is_valid(value) for value in (None, "x", 3)] == [True, True, False]


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"$schema": "http://json-schema.org/draft-04/schema#", "minimum": 1, "exclusiveMinimum": True}, DRAFT_7),
        ({"$schema": "http://json-schema.org/draft-03/schema#", "type": "string"}, DRAFT_7),
        ({"$schema": "https://spec.openapis.org/oas/3.1/dialect/base", "type": "string"}, None),
    ],
)
def test_a_draft_that_validators_do_not_have(schema, expected):
    read = read_dialect(schema)
    assert (read.schema.get("$schema"), read.change) == (expected, "rewritten")
    jsonschema_rs.validator_for(dict(read.schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"nullable": {"type": "boolean"}, "required": {"type": "string"}}},
        {"$schema": DRAFT_7, "items": [{"type": "string"}]},
        {"$schema": "http://json-schema.org/draft-04/schema#", "type": "string"},
        {"type": "string", "nullable": False, "example": "x", "id": "y"},
        {"enum": [{"type": "STRING", "nullable": True, "format": "date"}]},
        {"default": {"format": "date-time"}, "format": "ipv4"},
        {"type": "integer", "format": "date-time"},
        {"type": 5, "format": "date"},
        {"type": "no"},
        {"definitions": {"a": {"type": "string", "pattern": "^[a-z]{2,3}\\]$"}}, "$ref": "#/definitions/a"},
    ],
    ids=str,
)
def test_what_needs_no_change_stays_the_same_object(schema):
    read = read_dialect(schema)
    assert read.schema is schema
    assert read.change == ""


@pytest.mark.parametrize("name", WANTED)
def test_a_format_is_described(name):
    read = read_dialect(one({"type": "string", "format": name}))
    assert read == (one({"type": "string", "format": name, "description": WANTED[name]}), "described")
    read = read_dialect(one({"type": ["string", "null"], "format": name, "description": "When."}))
    assert read.schema["properties"]["a"]["description"] == f"When. ({WANTED[name]})"
    again = read_dialect(read.schema)
    assert again.schema is read.schema, "it is described once"


@pytest.mark.parametrize("name", WANTED)
def test_the_examples_are_valid(name):
    example = WANTED[name].rpartition("such as ")[2]
    validator = jsonschema_rs.validator_for({"format": name}, validate_formats=True)
    assert validator.is_valid(example)
    assert not validator.is_valid("x y")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["string", "STRING", "any", "a]", "date-time"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "nullable", "items", "required", "properties", "exclusiveMinimum", "minimum", "pattern",
                 "patternProperties", "format", "description", "enum", "anyOf", "$ref", "$schema", "additionalItems"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["type", "properties", "items", "nullable", "required"]), JSON))
def test_any_object_is_read(schema):
    before = json.dumps(schema)
    read_dialect(schema)
    assert json.dumps(schema) == before
