"""Gaps: what a grammar compiled from a JSON schema allows although the schema forbids it. Pure.

Both libraries compile schemas that they do not fully enforce. The gaps below were found by comparing answers sampled
from their grammars with the validator's verdicts. xgrammar silently ignores unknown keywords, so for xgrammar a schema
counts as enforced only if all its keywords are known to be enforced.

Not counted as gaps: what the strict JSON parser rejects anyway during streaming (a duplicate key, a number that exceeds
a double, half of a surrogate pair), and what no model writes (a known key with needless escapes, `"\\u0061"` for `"a"`,
which guidance treats as a different key).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jsonschema_rs

from router.types import Backend

Node = Mapping[str, Any]

_SUBSCHEMA_KEYWORDS = (
    "additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
)  # fmt: skip
_SUBSCHEMA_LISTS = ("allOf", "anyOf", "items", "oneOf", "prefixItems")
_SUBSCHEMA_MAPS = ("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties")
_ASSERTIONS = {
    *_SUBSCHEMA_KEYWORDS, *_SUBSCHEMA_LISTS, *_SUBSCHEMA_MAPS,
    "$anchor", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveAnchor", "$recursiveRef",
    "$ref", "const", "dependentRequired", "enum", "exclusiveMaximum", "exclusiveMinimum",
    "format", "id", "maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains",
    "minItems", "minLength", "minProperties", "minimum", "multipleOf", "pattern", "required", "type", "uniqueItems",
} - {"$defs", "definitions"}  # fmt: skip
"""every keyword of any draft that an answer can violate"""

# The libraries and the validator agree on these: anchored, without `.`, `\s`, negated classes, quotes or backslashes.
_PLAIN = r"[\w \-@#:;,/%=<>!~`'&|]|\\[dw.\-/+*?()\[\]{}^$|]"
_CLASS = r"\[(?:\w(?:-\w)?|[ .@#:;,/%=<>!+*?()$|]|\\[dw.\-/])+-?\]"
_EXACT_PATTERN = re.compile(rf"\^(?:(?:{_PLAIN}|{_CLASS}|\((?:\?:)?|\))(?:[*+?]|\{{\d+(?:,\d*)?\}})?)*\$", re.ASCII)

_REJECTED_KEYWORDS = {
    "contains", "maxContains", "minContains", "multipleOf", "patternProperties", "propertyNames", "uniqueItems",
}  # fmt: skip
_EXACT_FORMATS = {"duration", "ipv6", "uri", "uuid"}
"""formats with no wrong answer in any sample; the others get leap days, leap seconds or lengths wrong"""
_FORMATS_KNOWN_TO_VLLM = _EXACT_FORMATS | {"date", "date-time", "email", "hostname", "ipv4", "time"}
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_NUMBERS = ("integer", "number")
_BOUNDS = {"exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum"}
_XGRAMMAR_KEYWORDS: Mapping[str, set[str]] = {
    "array": {"items", "maxItems", "minItems", "prefixItems"},
    "boolean": set(),
    "integer": _BOUNDS,
    "null": set(),
    "number": _BOUNDS,
    "object": {"additionalProperties", "maxProperties", "minProperties", "properties", "required"},
    "string": {"format", "pattern"},  # with minLength or maxLength its strings are not even JSON
}


def enforcement_gap(schema: Node, backend: Backend) -> str:
    """Return the first gap in the backend's enforcement of a schema, or "" if the schema is fully enforced."""
    node_gap = _guidance_gap if backend == "guidance" else _xgrammar_gap
    root = {word: value for word, value in schema.items() if word not in ("$id", "id")}  # they only name it
    return next(filter(None, map(node_gap, _iter_nodes(root))), "") or _draft_gap(root, backend)


def may_be_refused(schema: Any) -> bool:
    """Return whether vLLM with xgrammar may reject the schema. vLLM has its own list of rejected keywords."""
    return any(
        node.keys() & _REJECTED_KEYWORDS
        or (node.keys() & {"format", "pattern"} and node.keys() & {"maxLength", "minLength"})
        or node.get("format", "uuid") not in _FORMATS_KNOWN_TO_VLLM
        or len(node.get("allOf", ())) > 1
        for node in _iter_nodes(schema)
    )


def _draft_gap(root: Node, backend: Backend) -> str:
    is_older = "2020-12" not in str(root.get("$schema", "2020-12"))
    if backend == "xgrammar" and is_older and any("prefixItems" in node for node in _iter_nodes(root)):
        return "prefixItems is enforced, though this draft has no such keyword"
    return ""


def _guidance_gap(node: Node) -> str:
    word = node.get("format")
    if isinstance(word, str) and "string" in _types(node) and word not in _EXACT_FORMATS | {"ipv4"}:
        return f"format {word} is enforced in part"
    patterns = [node["pattern"]] if "pattern" in node else []
    if not all(map(_EXACT_PATTERN.fullmatch, [*patterns, *node.get("patternProperties", ())])):
        return "a pattern may be read differently"
    if node.get("exclusiveMaximum") == 0:
        return "exclusiveMaximum 0 may let -0 through"
    return ""


def _xgrammar_gap(node: Node) -> str:
    words = node.keys() & _ASSERTIONS
    for word, is_enforced in _ENFORCED_ALONE.items():
        if word in words:
            others = words - {word} - ({"type"} if word in ("const", "enum") else set())
            return "" if not others and is_enforced(node) else f"{word} is enforced in part"
    known = {"type"}.union(*(_XGRAMMAR_KEYWORDS[name] for name in _types(node))) if "type" in words else set()
    if unknown := min(words - known, default=""):
        return f"{unknown} is not enforced"
    if "pattern" in words and ("format" in words or not _EXACT_PATTERN.fullmatch(node["pattern"])):
        return "pattern is enforced in part"
    if "format" in words and node["format"] not in _EXACT_FORMATS:
        return f"format {node['format']} is enforced in part"
    if node.get("properties") and node.get("additionalProperties", False) is not False:
        return "additionalProperties may use the name of a property"
    if {*node.get("required", ())} - {*node.get("properties", ())}:
        return "required names a key that is not a property"
    return ""


def _values_match_type(node: Node) -> bool:
    values = node["enum"] if "enum" in node else [node["const"]]
    return all(map(jsonschema_rs.validator_for({"type": node.get("type", list(_TYPES))}).is_valid, values))


def _is_disjoint(node: Node) -> bool:
    names = [branch.get("type") if isinstance(branch, Mapping) else None for branch in node["oneOf"]]
    return all(isinstance(name, str) for name in names) and len({*names}) == len(names) and not {*_NUMBERS} <= {*names}


_ENFORCED_ALONE: Mapping[str, Callable[[Node], bool]] = {
    "$ref": lambda node: node["$ref"].startswith("#/") or node["$ref"] == "#",
    "const": _values_match_type,
    "enum": _values_match_type,
    "anyOf": lambda _: True,
    "oneOf": _is_disjoint,
    "allOf": lambda node: len(node["allOf"]) == 1,
}


def _types(node: Node) -> Iterable[str]:
    named = node.get("type", _TYPES)
    return (named,) if isinstance(named, str) else named


def _iter_nodes(root: Any) -> Iterator[Node]:
    """Yield every schema of a document that is an object, at every position where a schema is allowed."""
    todo = [root]
    while todo:
        node = todo.pop()
        if not isinstance(node, Mapping):
            continue
        yield node
        todo += [node[word] for word in _SUBSCHEMA_KEYWORDS if word in node]
        todo += [child for word in _SUBSCHEMA_LISTS if isinstance(node.get(word), list) for child in node[word]]
        todo += [
            child for word in _SUBSCHEMA_MAPS if isinstance(node.get(word), Mapping) for child in node[word].values()
        ]
