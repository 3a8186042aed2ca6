"""How much work a schema makes of a small answer: twenty definitions that each name the next twice are 2^20."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote

# keywords whose subschemas judge the same value, so that their work adds up
_IN_PLACE = frozenset({"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"})
# keywords whose subschemas judge parts of the value: one part follows one of them
_PARTS = frozenset(
    {
        "properties", "patternProperties", "additionalProperties", "propertyNames", "unevaluatedProperties",
        "items", "prefixItems", "additionalItems", "contains", "unevaluatedItems",
    }
)  # fmt: skip
_BY_NAME = frozenset({"dependentSchemas", "dependencies", "properties", "patternProperties"})
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_NAMES = ("$id", "id", "$anchor", "$dynamicAnchor")


def evaluations(schema: Any, limit: int) -> int:
    """Return how often one place of an answer can be judged at worst; counting ends above `limit`.

    References that come back to themselves count once: the validator remembers their verdicts.
    """
    try:
        return _Count(schema, limit).of(schema)
    except RecursionError:  # a chain of hundreds of references, one behind the other
        return limit + 1


def follow(schema: Any, pointer: str) -> Any:
    """Return what `#/...` names in the document (percent escapes already undone); None: nothing."""
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


class _Count:
    def __init__(self, root: Any, limit: int) -> None:
        self._root = root
        self._limit = limit
        self._known: dict[int, int] = {}

    def of(self, node: Any) -> int:
        if not isinstance(node, Mapping):
            return 1
        if (known := self._known.get(id(node))) is not None:
            return known
        self._known[id(node)] = 1  # while it is being counted: a way back to here
        same, parts = 0, 1
        for word, value in node.items():
            if word in _IN_PLACE:
                same += sum(map(self.of, _subschemas(word, value)))
            elif word in _PARTS:
                parts = max(parts, *map(self.of, _subschemas(word, value)), 1)
            elif word in _REFERENCES and isinstance(value, str):
                same += max(map(self.of, self._targets(value)), default=1)
        self._known[id(node)] = count = min(same + parts, self._limit + 1)
        return count

    def _targets(self, reference: str) -> list[Any]:
        if _is_pointer(reference):
            return [follow(self._root, unquote(reference))]
        return self._named

    @cached_property
    def _named(self) -> list[Any]:
        # references by name are rare: each counts as the worst of all schemas that have one
        return [node for node in objects(self._root) if any(isinstance(node.get(name), str) for name in _NAMES)]


def _subschemas(word: str, value: Any) -> Iterable[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping) and word in _BY_NAME:
        return value.values()
    return (value,)


def objects(root: Any) -> Iterator[Mapping[str, Any]]:
    """Yield every object of a document, itself first."""
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
    """Return whether any reference of a document has to be searched for, not only followed."""
    targets = (node[word] for node in objects(root) for word in _REFERENCES if isinstance(node.get(word), str))
    return not all(map(_is_pointer, targets))


def references(root: Any) -> Iterator[tuple[list[str | int], str]]:
    """Yield every reference of a document: its path and its target."""
    todo: list[tuple[list[str | int], Any]] = [([], root)]
    while todo:
        path, node = todo.pop()
        if isinstance(node, Mapping):
            yield from (([*path, k], node[k]) for k in _REFERENCES if isinstance(node.get(k), str))
            todo.extend(([*path, name], child) for name, child in node.items())
        elif isinstance(node, list):
            todo.extend(([*path, i], child) for i, child in enumerate(node))


def patterns(root: Any) -> Iterator[str]:
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
