"""How much work a schema needs for a small answer: 20 definitions that each refer to the next twice need 2^20 steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote

# keywords whose subschemas apply to the same value, so their work adds up
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"})
# keywords whose subschemas apply to parts of the value; each part is checked against one of them
_PARTS = frozenset(
    {
        "properties", "patternProperties", "additionalProperties", "propertyNames", "unevaluatedProperties",
        "items", "prefixItems", "additionalItems", "contains", "unevaluatedItems",
    }
)  # fmt: skip
_SUBSCHEMA_MAPS = frozenset({"dependentSchemas", "dependencies", "properties", "patternProperties"})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_ID_KEYWORDS = ("$id", "id", "$anchor", "$dynamicAnchor")


def evaluations(schema: Any, limit: int) -> int:
    """Return how often one value of an answer is checked in the worst case. Counting stops above `limit`.

    Recursive references count once, because the validator caches their verdicts.
    """
    try:
        return _EvaluationCounter(schema, limit).count(schema)
    except RecursionError:  # a chain of hundreds of references
        return limit + 1


def resolve_pointer(schema: Any, pointer: str) -> Any:
    """Return what the JSON Pointer `#/...` refers to, or None. Percent escapes must be decoded already."""
    node = schema
    for part in pointer.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping):
            node = node.get(name)
        elif isinstance(node, list) and name.isdecimal() and len(name) < 10 and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node


class _EvaluationCounter:
    def __init__(self, root: Any, limit: int) -> None:
        self._root = root
        self._limit = limit
        self._cache: dict[int, int] = {}

    def count(self, node: Any) -> int:
        if not isinstance(node, Mapping):
            return 1
        if (cached := self._cache.get(id(node))) is not None:
            return cached
        self._cache[id(node)] = 1  # a recursive reference to a node that is being counted
        same, parts = 0, 1
        for word, value in node.items():
            if word in _IN_PLACE:
                same += sum(map(self.count, _subschemas(word, value)))
            elif word in _PARTS:
                parts = max(parts, *map(self.count, _subschemas(word, value)), 1)
            elif word in _REFERENCES and isinstance(value, str):
                same += max(map(self.count, self._targets(value)), default=1)
        self._cache[id(node)] = total = min(same + parts, self._limit + 1)
        return total

    def _targets(self, reference: str) -> list[Any]:
        if _is_pointer(reference):
            return [resolve_pointer(self._root, unquote(reference))]
        return self._named

    @cached_property
    def _named(self) -> list[Any]:
        # references by name are rare: each counts as the most complex schema that has a name
        return [
            node for node in iter_objects(self._root) if any(isinstance(node.get(name), str) for name in _ID_KEYWORDS)
        ]


def _subschemas(word: str, value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and word in _SUBSCHEMA_MAPS:
        return value.values()
    return (value,)


def iter_objects(root: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every object of a document, the document first."""
    todo = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, Mapping):
            yield node
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)


def _is_pointer(reference: str) -> bool:
    return reference == "#" or reference.startswith("#/")


def refers_by_name(root: Any) -> bool:
    """Return whether a reference of the document names its target, so that the target must be searched for."""
    targets = (node[word] for node in iter_objects(root) for word in _REFERENCES if isinstance(node.get(word), str))
    return not all(map(_is_pointer, targets))


def iter_references(root: Any) -> Iterator[tuple[list[str | int], str]]:
    """Yield the path and the target of every reference of a document."""
    todo: list[tuple[list[str | int], Any]] = [([], root)]
    while todo:
        path, node = todo.pop()
        if isinstance(node, Mapping):
            yield from (([*path, k], node[k]) for k in _REFERENCES if isinstance(node.get(k), str))
            todo.extend(([*path, name], child) for name, child in node.items())
        elif isinstance(node, list):
            todo.extend(([*path, i], child) for i, child in enumerate(node))


def iter_patterns(root: Any) -> Iterator[str]:
    """Yield every regular expression of a document."""
    todo = [root]
    while todo:
        node = todo.pop()
        if isinstance(node, Mapping):
            if isinstance(node.get("pattern"), str):
                yield node["pattern"]
            if isinstance(node.get("patternProperties"), Mapping):
                yield from node["patternProperties"]
            todo.extend(node.values())
        elif isinstance(node, list):
            todo.extend(node)
