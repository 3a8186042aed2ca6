"""What the text of a parameter stands for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.text_calls.parameter_types import parameter_types, typed_value
from router.structured.constraint import Schema, Tool

WORD = {"$ref": "#/$defs/word"}
SCHEMA = {
    "type": "object",
    "$defs": {
        "word": {"type": "string"},
        "loop": {"anyOf": [{"$ref": "#/$defs/loop"}, {"type": "null"}]},
        "a/b c": {"type": "boolean"},
    },
    "properties": {
        "plain": {"type": "integer"},
        "several": {"type": ["string", "null"]},
        "optional": {"anyOf": [WORD, {"type": "null"}]},
        "named": WORD,
        "escaped": {"$ref": "#/$defs/a~1b%20c"},
        "loop": {"$ref": "#/$defs/loop"},
        "far": {"$ref": "https://example.com/schema"},
        "enumerated": {"enum": ["a", 1, 1.5, 2.0, None]},
        "constant": {"const": True},
        "free": {},
        "any": True,
    },
    "allOf": [{"properties": {"inherited": {"type": "array"}, "plain": {"minimum": 0}}}],
    "additionalProperties": {"type": "number"},
}
TOOL = Tool("f", Schema(json.dumps(SCHEMA), SCHEMA))


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("plain", "integer"),
        ("several", "string null"),
        ("optional", "string null"),
        ("named", "string"),
        ("escaped", "boolean"),
        ("loop", "null"),
        ("far", ""),
        ("enumerated", "string integer number null"),
        ("constant", "boolean"),
        ("free", ""),
        ("any", ""),
        ("inherited", "array"),
        ("other", "number"),
    ],
)
def test_the_types_of_a_parameter(name, types):
    assert parameter_types(TOOL, name) == frozenset(types.split())


@pytest.mark.parametrize(
    "tool", [None, Tool("f"), Tool("f", Schema("{}", {})), Tool("f", Schema("", {"properties": 1}))]
)
def test_nothing_is_known(tool):
    assert parameter_types(tool, "a") == frozenset()


@given(
    st.recursive(
        st.text() | st.booleans(),
        lambda part: (
            st.lists(part)
            | st.dictionaries(
                st.sampled_from(["type", "enum", "anyOf", "allOf", "$ref", "properties", "additionalProperties", "a"]),
                part,
            )
        ),
    )
)
def test_no_schema_is_an_error(schema):
    value = schema if isinstance(schema, dict) else {"properties": {"a": schema}}
    parameter_types(Tool("f", Schema("", value)), "a")


@pytest.mark.parametrize(
    ("text", "types", "value"),
    [
        ("5", "integer", 5),
        (" 5\n", "integer", 5),
        ("5", "number", 5),
        ("5.5", "number", 5.5),
        ("5.0", "integer", 5.0),
        ("5.5", "integer", "5.5"),
        ("5", "string", "5"),
        (" 5 ", "string", " 5 "),
        ("5", "", "5"),
        ("5", "string integer", 5),
        ("five", "string integer", "five"),
        ("true", "boolean", True),
        ("True", "boolean", True),
        ("False", "boolean", False),
        ("true", "integer", "true"),
        ("1", "boolean", "1"),
        ("null", "string null", None),
        ("None", "null", None),
        ("null", "string", "null"),
        ('{"a": [1]}', "object", {"a": [1]}),
        ('{"a": 1}', "array", '{"a": 1}'),
        ("[1, 2]", "array", [1, 2]),
        ("[1, 2", "array", "[1, 2"),
        ('{"a": 1, "a": 2}', "object", '{"a": 1, "a": 2}'),
        ("NaN", "number", "NaN"),
        ("1e999", "number", "1e999"),
        ('"a"', "string null", '"a"'),
        ("", "integer", ""),
    ],
)
def test_a_text_stands_for(text, types, value):
    found = typed_value(text, frozenset(types.split()))
    assert (found, type(found)) == (value, type(value))
