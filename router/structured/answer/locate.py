"""Finds where and why an answer breaks its schema.

The validator's own report of a failed `oneOf` describes every branch: 17 s for sixteen nested objects. So this module
searches for the fault from the root down, and only asks the validator whether a part is valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

from router.structured.complexity import resolve_pointer
from router.structured.formats import WANTED

Step = tuple[str, Any, list[str | int]]
"""a subschema's pointer, the part of the answer that it applies to, and the path to that part"""

# keywords that constrain the value itself and contain no subschema
_OWN = (
    "type", "enum", "const", "required", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "multipleOf", "minLength", "maxLength", "pattern", "format", "minItems", "maxItems", "uniqueItems",
    "minProperties", "maxProperties", "dependentRequired",
)  # fmt: skip
# keywords that are not searched further: the fault is somewhere inside
_INDIRECT = (
    "anyOf", "oneOf", "not", "if", "contains", "propertyNames", "patternProperties", "dependentSchemas",
    "dependencies", "unevaluatedProperties", "unevaluatedItems", "$ref", "$dynamicRef",
)  # fmt: skip
_TYPES = {
    dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null",
    int: "an integer", float: "a number",
}  # fmt: skip
_MAX_STEPS = 500


def locate_fault(schema: Mapping[str, Any], value: Any, options: Mapping[str, Any]) -> tuple[list[str | int], str]:
    """Return the path to the part of an invalid `value` that breaks the schema, and the reason."""
    search = _Search(schema, options)
    step: Step = ("#", value, [])
    for _ in range(_MAX_STEPS):
        at, part, path = step
        if reason := search.own_fault(at, part):
            return path, reason
        next_step = search.first_failing(at, part, path)
        if next_step is None:
            return path, search.summary(at, part)
        step = next_step
    return step[2], "the value does not satisfy the schema"


class _Search:
    def __init__(self, schema: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self._root = schema
        self._options = options
        self._draft = {"$schema": schema["$schema"]} if isinstance(schema.get("$schema"), str) else {}
        self._old = "draft-0" in self._draft.get("$schema", "")
        """drafts before 2019 ignore keywords beside a `$ref`"""
        self._validators = jsonschema_rs.validator_map_for(dict(schema), **options)

    def own_fault(self, at: str, value: Any) -> str:
        """Return what is wrong with the value itself, not with a part of it; "" if nothing is."""
        node = resolve_pointer(self._root, at)
        if node is False:
            return "is not allowed"
        if not isinstance(node, Mapping) or (self._old and "$ref" in node):
            return ""
        own: dict[str, Any] = self._draft | {word: node[word] for word in _OWN if word in node}
        if node.get("additionalProperties") is False:
            for word in ("properties", "patternProperties"):
                own[word] = {name: {} for name in node.get(word, ())}
            own["additionalProperties"] = False
        validator = jsonschema_rs.validator_for(own, mask="the value", **self._options)
        if validator.is_valid(value):
            return ""
        error = next(iter(validator.iter_errors(value)))
        if error.kind.name == "falseSchema":
            extra = next(name for name in value if not validator.is_valid({name: value[name]}))
            return f"the key {extra[:64]!r} is not allowed"
        match error.kind.name:
            case "type":
                return f"{error.message}, but {_TYPES[type(value)]}"
            case "format" if wanted := WANTED.get(node["format"]):
                return f"{error.message}: expected {wanted}"
        return error.message

    def first_failing(self, at: str, value: Any, path: list[str | int]) -> Step | None:
        """Return the first subschema that surely must be satisfied and is not, or None."""
        return next((step for step in self._required_steps(at, value, path) if not self._is_satisfied(step)), None)

    def summary(self, at: str, value: Any) -> str:
        """Return what is wrong with a value if no part of it is surely at fault."""
        node = resolve_pointer(self._root, at)
        if not isinstance(node, Mapping):
            return "the value does not satisfy the schema"
        for word in ("anyOf", "oneOf"):
            branches = [f"{at}/{word}/{i}" for i, _ in enumerate(node.get(word, ()))]
            matching = sum(self._is_satisfied((branch, value, [])) for branch in branches)
            if branches and not matching:
                return f"the value satisfies none of the {len(branches)} branches of '{word}'"
            if word == "oneOf" and matching > 1:
                return f"the value satisfies {matching} branches of 'oneOf', exactly one is allowed"
        if (forbidden := self._validators.get(f"{at}/not")) and forbidden.is_valid(value):
            return "the value matches what 'not' forbids"
        words = [word for word in _INDIRECT if word in node]
        return f"the value does not satisfy {' or '.join(map(repr, words)) or 'the schema'}"

    def _is_satisfied(self, step: Step) -> bool:
        validator = self._validators.get(step[0])
        return validator is None or validator.is_valid(step[1])

    def _required_steps(self, at: str, value: Any, path: list[str | int]) -> Iterator[Step]:
        node = resolve_pointer(self._root, at)
        if not isinstance(node, Mapping):
            return
        reference = node.get("$ref")
        if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
            yield unquote(reference), value, path
            if self._old:
                return
        for i, _ in enumerate(node.get("allOf", ())):
            yield f"{at}/allOf/{i}", value, path
        for word in ("anyOf", "oneOf"):
            # the only branch that the value may match: all others already fail on the value itself
            candidates = [f"{at}/{word}/{i}" for i, _ in enumerate(node.get(word, ()))]
            candidates = [branch for branch in candidates if not self._branch_fault(branch, value)]
            if len(candidates) == 1:
                yield candidates[0], value, path
        if condition := self._validators.get(f"{at}/if"):
            branch = "then" if condition.is_valid(value) else "else"
            if branch in node:
                yield f"{at}/{branch}", value, path
        yield from self._parts(node, at, value, path)

    def _branch_fault(self, at: str, value: Any) -> str:
        """Return the value's own fault in a branch; if the branch is a reference, follow it once."""
        node = resolve_pointer(self._root, at)
        reference = node.get("$ref") if isinstance(node, Mapping) else None
        if isinstance(reference, str) and reference.startswith("#/"):
            return self.own_fault(unquote(reference), value) or self.own_fault(at, value)
        return self.own_fault(at, value)

    def _parts(self, node: Mapping[str, Any], at: str, value: Any, path: list[str | int]) -> Iterator[Step]:
        if isinstance(value, dict):
            named = node.get("properties", {})
            for key, part in value.items():
                if key in named:
                    escaped = key.replace("~", "~0").replace("/", "~1")
                    yield f"{at}/properties/{escaped}", part, [*path, key]
                elif "additionalProperties" in node and not node.get("patternProperties"):
                    yield f"{at}/additionalProperties", part, [*path, key]
        elif isinstance(value, list):
            first = node.get("prefixItems", node.get("items") if isinstance(node.get("items"), list) else [])
            word = "prefixItems" if "prefixItems" in node else "items"
            for i, part in enumerate(value):
                if i < len(first):
                    yield f"{at}/{word}/{i}", part, [*path, i]
                elif isinstance(node.get("items"), (dict, bool)):
                    yield f"{at}/items", part, [*path, i]
