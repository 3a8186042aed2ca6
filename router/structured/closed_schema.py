"""A schema that allows no keys but those that it names: small models otherwise make up more and more of them. Pure.

What satisfies the closed schema satisfies the open one. It is for decoding only; answers are judged by the open one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.structured.complexity import objects

_SAYS_ITSELF = frozenset(
    {"additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames", "minProperties"}
)
"""beside these a schema says what other keys there are"""
_TOO_SUBTLE = frozenset(
    {"allOf", "not", "if", "dependentSchemas", "dependencies", "dependentRequired", "$dynamicRef", "$recursiveRef"}
)
"""where one of these stands, nothing is closed"""
_BRANCHES = frozenset({"anyOf", "oneOf"})
_OF_AN_OBJECT = frozenset({"properties", "required"})
_ANNOTATIONS = frozenset({"$ref", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_NAMED_PARTS = ("properties", "$defs", "definitions")
_PARTS = ("items", "prefixItems", "additionalItems", "contains", *sorted(_BRANCHES))


def closed(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema with `additionalProperties: false` wherever it surely can be satisfied still.

    That is where nothing else judges the same object: each would forbid the other's keys.
    """
    nodes = list(objects(schema))
    if any(_TOO_SUBTLE & node.keys() for node in nodes) or any(map(_shares, nodes)):
        return schema
    return _close(schema)  # type: ignore[no-any-return]


def _shares(node: Mapping[str, Any]) -> bool:
    """Return whether a value of this place is judged by two that may name keys."""
    if "$ref" in node:
        return not node.keys() <= {*_ANNOTATIONS, "$schema", "$defs", "definitions"}
    branches = _BRANCHES & node.keys()
    return len(branches) > 1 or bool(branches and _OF_AN_OBJECT & node.keys())


def _close(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    changed = dict(node)
    for word in _NAMED_PARTS:
        if isinstance(node.get(word), Mapping):
            changed[word] = {name: _close(part) for name, part in node[word].items()}
    for word in _PARTS:
        if isinstance(node.get(word), list):
            changed[word] = [_close(part) for part in node[word]]
        elif word in node:
            changed[word] = _close(node[word])
    named, required = node.get("properties"), node.get("required", [])
    names_all = named and isinstance(named, Mapping) and isinstance(required, list) and named.keys() >= set(required)
    return changed if not names_all or _SAYS_ITSELF & node.keys() else {**changed, "additionalProperties": False}
