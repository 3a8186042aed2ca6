"""Closes a schema: it then allows only the keys that it names. Small models otherwise invent more and more keys. Pure.

Every value that satisfies the closed schema satisfies the original one. The closed schema is for decoding only; answers
are checked against the original.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.structured.complexity import iter_objects

_KEY_RULES = frozenset(
    {"additionalProperties", "patternProperties", "unevaluatedProperties", "propertyNames", "minProperties"}
)
"""with one of these, the schema itself says which other keys are allowed"""
_UNSUPPORTED = frozenset(
    {"allOf", "not", "if", "dependentSchemas", "dependencies", "dependentRequired", "$dynamicRef", "$recursiveRef"}
)
"""a schema that contains one of these is left as it is"""
_BRANCHES = frozenset({"anyOf", "oneOf"})
_OBJECT_KEYWORDS = frozenset({"properties", "required"})
_ANNOTATIONS = frozenset({"$ref", "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"})
_SUBSCHEMA_MAPS = ("properties", "$defs", "definitions")
_SUBSCHEMAS = ("items", "prefixItems", "additionalItems", "contains", *sorted(_BRANCHES))


def close_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema with `additionalProperties: false` added wherever the schema surely remains satisfiable.

    It remains satisfiable where no other subschema applies to the same object. Otherwise each would forbid the keys of
    the other.
    """
    nodes = list(iter_objects(schema))
    if any(_UNSUPPORTED & node.keys() for node in nodes) or any(map(_is_shared, nodes)):
        return schema
    return _close(schema)  # type: ignore[no-any-return]


def _is_shared(node: Mapping[str, Any]) -> bool:
    """Return whether two subschemas that may name keys apply to the same value."""
    if "$ref" in node:
        return not node.keys() <= {*_ANNOTATIONS, "$schema", "$defs", "definitions"}
    branches = _BRANCHES & node.keys()
    return len(branches) > 1 or bool(branches and _OBJECT_KEYWORDS & node.keys())


def _close(node: Any) -> Any:
    if not isinstance(node, Mapping):
        return node
    changed = dict(node)
    for word in _SUBSCHEMA_MAPS:
        if isinstance(node.get(word), Mapping):
            changed[word] = {name: _close(part) for name, part in node[word].items()}
    for word in _SUBSCHEMAS:
        if isinstance(node.get(word), list):
            changed[word] = [_close(part) for part in node[word]]
        elif word in node:
            changed[word] = _close(node[word])
    named, required = node.get("properties"), node.get("required", [])
    names_all = named and isinstance(named, Mapping) and isinstance(required, list) and named.keys() >= set(required)
    return changed if not names_all or _KEY_RULES & node.keys() else {**changed, "additionalProperties": False}
