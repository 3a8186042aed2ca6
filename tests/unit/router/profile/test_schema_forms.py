from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.profile.schema_forms import any_of, defs, has_one_of, refers_elsewhere

VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["a", "b"]),
    lambda inner: st.dictionaries(st.sampled_from(["a", "b", "next"]), inner, max_size=3),
    max_leaves=6,
)
TREE: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/properties/a"}, "next": {"$ref": "#"}},
}


@given(VALUES)
def test_moved_references_mean_the_same(value: Any) -> None:
    moved = defs(TREE)
    assert not refers_elsewhere(moved)
    assert jsonschema_rs.is_valid(moved, value) == jsonschema_rs.is_valid(TREE, value)


@given(VALUES)
def test_any_of_allows_all_that_one_of_allows(value: Any) -> None:
    schema = {"oneOf": [{"type": "integer"}, {"type": "object"}], "properties": {"a": {"oneOf": [{"const": 1}]}}}
    changed = any_of(schema)
    assert not has_one_of(changed)
    assert jsonschema_rs.is_valid(changed, value) or not jsonschema_rs.is_valid(schema, value)


def test_one_of_beside_any_of_stays_a_condition() -> None:
    schema = {"oneOf": [{"type": "integer"}], "anyOf": [{"minimum": 1}]}
    changed = any_of(schema)
    assert [jsonschema_rs.is_valid(changed, value) for value in (0, 1, "a")] == [False, True, False]


@pytest.mark.parametrize("schema", [{}, {"type": "object"}, {"$ref": "#/$defs/a", "$defs": {"a": {}}}, True, []])
def test_what_need_not_change_does_not(schema: Any) -> None:
    assert defs(schema) == schema
    assert any_of(schema) == schema


def test_a_reference_to_nothing_stays() -> None:
    schema = {"properties": {"a": {"$ref": "#/nowhere"}}}
    assert json.dumps(defs(schema)) == json.dumps(schema)
