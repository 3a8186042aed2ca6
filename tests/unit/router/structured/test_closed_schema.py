"""Keys that a schema does not name are not decoded, where it can still be satisfied."""

from __future__ import annotations

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.closed_schema import close_schema

NO_MORE = {"additionalProperties": False}
INTEGER = {"type": "integer"}


def test_named_keys_are_all_there_are():
    assert close_schema({"type": "object", "properties": {"a": INTEGER}}) == {
        "type": "object",
        "properties": {"a": INTEGER},
        **NO_MORE,
    }


@pytest.mark.parametrize(
    "within",
    [
        lambda part: {"properties": {"x": part}, **NO_MORE},
        lambda part: {"items": part},
        lambda part: {"prefixItems": [INTEGER, part]},
        lambda part: {"anyOf": [part, {"type": "null"}]},
        lambda part: {"$ref": "#/$defs/a", "$defs": {"a": part}},
        lambda part: {"properties": {"x": {"description": "d", "$ref": "#/$defs/a"}}, "$defs": {"a": part}, **NO_MORE},
    ],
)
def test_so_it_is_at_every_depth(within):
    part = {"properties": {"a": INTEGER}, "required": ["a"]}
    assert close_schema(within(part)) == within({**part, **NO_MORE})


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"type": "object", "properties": {}},
        {"properties": {"a": INTEGER}, "additionalProperties": INTEGER},
        {"properties": {"a": INTEGER}, "patternProperties": {"^x": INTEGER}},
        {"properties": {"a": INTEGER}, "minProperties": 2},
        {"properties": {"a": INTEGER}, "required": ["b"]},
        {"allOf": [{"properties": {"a": INTEGER}}, {"properties": {"b": INTEGER}}]},
        {"properties": {"a": INTEGER}, "anyOf": [{"properties": {"b": INTEGER}}]},
        {"required": ["b"], "anyOf": [{"properties": {"a": INTEGER}}]},
        {"properties": {"a": INTEGER}, "if": {"required": ["a"]}, "then": {"properties": {"b": INTEGER}}},
        {"properties": {"a": INTEGER}, "not": {"properties": {"a": {"const": 1}}}},
        {"properties": {"a": INTEGER}, "$ref": "#/$defs/a", "$defs": {"a": {"properties": {"b": INTEGER}}}},
    ],
)
def test_what_might_not_be_satisfied_any_more_stays_open(schema):
    assert close_schema(schema) == schema


NAMES = st.sampled_from(["a", "b"])
VALUES = st.recursive(
    st.integers(0, 3) | st.none(),
    lambda part: st.lists(part, max_size=2) | st.dictionaries(st.sampled_from("abc"), part, max_size=3),
    max_leaves=6,
)


def objects_of(part):
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, part, max_size=2)},
        optional={"required": st.lists(NAMES, max_size=1), "additionalProperties": part},
    )


SCHEMAS = st.recursive(
    st.sampled_from([{}, INTEGER, {"type": "null"}]),
    lambda part: (
        objects_of(part)
        | st.builds(lambda items: {"type": "array", "items": items}, part)
        | st.builds(lambda branches: {"anyOf": branches}, st.lists(part, min_size=1, max_size=2))
        | st.builds(lambda branches: {"allOf": branches}, st.lists(part, min_size=1, max_size=2))
        | st.builds(lambda branches, one: {**one, "anyOf": branches}, st.lists(part, min_size=1), objects_of(part))
    ),
    max_leaves=6,
)


@given(SCHEMAS, VALUES)
def test_what_satisfies_the_closed_schema_satisfies_the_open_one(schema, value):
    if jsonschema_rs.is_valid(close_schema(schema), value):
        assert jsonschema_rs.is_valid(schema, value)
