"""Reads a JSON schema that is written in an older draft or another dialect, as it was meant. Pure.

Validators ignore or refuse what their draft does not have, and engines do so in ways of their own. So a schema is
rewritten into one that all of them read alike, and is checked and forwarded in that form.

- OpenAPI 3.0: `nullable: true`.
- Draft 4: `exclusiveMinimum: true`; `$schema` of a draft that no validator knows.
- Draft 3: `required: true` in a property.
- Words that are null: they are as if absent.
- Before 2020-12: `items` as a list, without a `$schema` that says so.
- Gemini and Python: types such as `STRING`, `float` and `any`.
- Regular expressions of other languages: see `patterns`.

A string's `format` is described in words, because decoding seldom enforces it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from router.structured.constraint import SchemaChange
from router.structured.formats import WANTED
from router.structured.request.patterns import as_ecma

MAX_NODES = 3_000
"""objects of a schema; 1,000 take 10 ms, and others wait meanwhile"""
NO_CHANGE: SchemaChange = ""
_MAPS = frozenset({"$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"})
_LISTS = frozenset({"allOf", "anyOf", "items", "oneOf", "prefixItems"})
_SINGLE = frozenset({
    "additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then",
    "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
_WORDS = frozenset({
    "exclusiveMaximum", "exclusiveMinimum", "format", "items", "nullable", "pattern", "patternProperties", "properties",
    "required", "type",
})  # fmt: skip
"""the words that may have to be read differently"""
_MAY_BE_NULL = frozenset({"const", "default", "example"})
_TYPES: Mapping[str, str | None] = {
    "any": None, "bool": "boolean", "dict": "object", "double": "number", "float": "number", "int": "integer",
    "list": "array", "long": "integer", "none": "null", "str": "string", "tuple": "array",
}  # fmt: skip
_STANDARD_TYPES = frozenset({"array", "boolean", "integer", "null", "number", "object", "string"})
_OUTER = ("$schema", "$id", "$defs", "definitions", "title", "description", "default")
"""what stays outside if the rest of a schema becomes a branch"""
_DRAFT_7 = "http://json-schema.org/draft-07/schema#"
_UNKNOWN_DRAFTS: Mapping[str, str | None] = {
    "draft-03": _DRAFT_7,
    "draft-02": _DRAFT_7,
    "draft-01": _DRAFT_7,
    "spec.openapis.org": None,
}
"""parts of a `$schema` that validators do not know, and what is read instead; None: the newest draft"""


_SIGNS = re.compile(
    r'"(?:nullable"|(?!(?:const|default|example)")[^"]*":null|exclusiveM\w+":[tf]|required":[tf]|items":\[|format":|pattern|'
    r'type":(?:\[|"(?!(?:array|boolean|integer|null|number|object|string)"))|'
    r'\$schema":"[^"]*(?:draft-0[123]|spec\.openapis))'
)


class ReadSchema(NamedTuple):
    """A schema as it was meant, and how it differs from what the client wrote."""

    schema: Mapping[str, Any]
    change: SchemaChange


def read_dialect(schema: Mapping[str, Any]) -> ReadSchema:
    """Return a schema as it was meant; the same object if nothing has to change."""
    reader = _Reader(schema)
    read = reader.read_root(schema)
    return ReadSchema(read if reader.change else schema, reader.change)


def may_be_dialect(text: str) -> bool:
    """Return whether the compact JSON of a schema has a sign of a dialect, or a format, and is read in a short time."""
    return _SIGNS.search(text) is not None and text.count("{") <= MAX_NODES


class _Reader:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.change: SchemaChange = ""
        self._draft = str(root.get("$schema") or "")

    def read_root(self, root: Mapping[str, Any]) -> Mapping[str, Any]:
        read: dict[str, Any] = self._read(root)
        drafts = [draft for part, draft in _UNKNOWN_DRAFTS.items() if part in self._draft]
        if self.change == "rewritten" and "draft-04" in self._draft:
            drafts = [_DRAFT_7]  # its successor, which has the keywords that were written
        if drafts:
            self.change = "rewritten"
            read = {word: value for word, value in read.items() if word != "$schema"}
            return read if drafts[0] is None else {**read, "$schema": drafts[0]}
        return read

    def _read(self, node: Any, *, is_property: bool = False) -> Any:
        if not isinstance(node, Mapping):
            return node
        read = {word: self._read_part(word, value) for word, value in node.items()}
        if _WORDS.isdisjoint(read) and None not in read.values():
            return read
        if isinstance(read.get("required"), bool) and not is_property:
            del read["required"]  # nothing that could require it
            self.change = "rewritten"
        return self._describe(self._read_words(read))

    def _read_part(self, word: str, value: Any) -> Any:
        if isinstance(value, Mapping):
            if word in _MAPS:
                is_property = word == "properties"
                return {name: self._read(part, is_property=is_property) for name, part in value.items()}
            return self._read(value) if word in _SINGLE else value
        return [self._read(part) for part in value] if word in _LISTS and isinstance(value, list) else value

    def _read_words(self, node: dict[str, Any]) -> dict[str, Any]:
        before = dict(node)
        for word in [word for word, value in node.items() if value is None and word not in _MAY_BE_NULL]:
            del node[word]
        if _read_required(node):
            self.change = "rewritten"
        _read_types(node)
        _read_bounds(node)
        _read_patterns(node)
        if isinstance(node.get("items"), list) and self._draft in ("", *_NEWEST):
            node["prefixItems"] = node.pop("items")
            if "additionalItems" in node:
                node["items"] = node.pop("additionalItems")
        if node.get("nullable") is True:
            node = _read_nullable(node)
        if node != before:
            self.change = "rewritten"
        return node

    def _describe(self, node: dict[str, Any]) -> dict[str, Any]:
        wanted = WANTED.get(str(node.get("format")))
        description = node.get("description", "")
        if wanted is None or not isinstance(description, str) or wanted in description:
            return node
        types = node.get("type", "string")
        if types != "string" and not (isinstance(types, list) and "string" in types):
            return node
        self.change = self.change or "described"
        return {**node, "description": f"{description} ({wanted})" if description else wanted}


_NEWEST = ("https://json-schema.org/draft/2020-12/schema", "https://json-schema.org/draft/2020-12/schema#")


def _read_required(node: dict[str, Any]) -> bool:
    """Collect the names of the properties that say themselves whether they are required."""
    changed = False
    properties = node.get("properties")
    if isinstance(properties, dict):
        for name, part in properties.items():
            if isinstance(part, Mapping) and isinstance(part.get("required"), bool):
                changed = True
                properties[name] = {word: value for word, value in part.items() if word != "required"}
                listed = node.get("required")
                if part["required"] and not (isinstance(listed, list) and name in listed):
                    node["required"] = [*(listed if isinstance(listed, list) else []), name]
    return changed


def _read_types(node: dict[str, Any]) -> None:
    named = node.get("type")
    names = named if isinstance(named, list) else [named]
    words = [name for name in names if isinstance(name, str)]
    if len(words) < len(names) or _STANDARD_TYPES.issuperset(words):
        return
    meant = [_TYPES.get(word.lower(), word.lower()) for word in words]
    if None in meant:
        del node["type"]
    elif _STANDARD_TYPES.issuperset(meant):
        node["type"] = list(dict.fromkeys(meant)) if isinstance(named, list) else meant[0]


def _read_bounds(node: dict[str, Any]) -> None:
    for word, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(node.get(word), bool):
            is_exclusive = node.pop(word)
            if is_exclusive and bound in node:
                node[word] = node.pop(bound)


def _read_patterns(node: dict[str, Any]) -> None:
    if isinstance(node.get("pattern"), str):
        node["pattern"] = as_ecma(node["pattern"])
    if isinstance(node.get("patternProperties"), dict):
        node["patternProperties"] = {as_ecma(name): part for name, part in node["patternProperties"].items()}


def _read_nullable(node: dict[str, Any]) -> dict[str, Any]:
    meant = {word: value for word, value in node.items() if word != "nullable"}
    if isinstance(meant.get("enum"), list) and None not in meant["enum"]:
        meant["enum"] = [*meant["enum"], None]
    if meant.keys() & {"$ref", "allOf", "anyOf", "oneOf", "const", "not"}:
        about = {word: meant.pop(word) for word in _OUTER if word in meant}
        return {**about, "anyOf": [meant, {"type": "null"}]}
    if "type" in meant:
        types = meant["type"] if isinstance(meant["type"], list) else [meant["type"]]
        meant["type"] = types if "null" in types else [*types, "null"]
    return meant
