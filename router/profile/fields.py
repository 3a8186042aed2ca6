"""The fields of a request that is about to be sent: some still as the client's bytes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec


def plain(fields: dict[str, Any], name: str) -> Any:
    """Return the value of a field as Python's types, or None if it is missing."""
    value = fields.get(name)
    return msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value


def has_path(value: Any, path: Sequence[str]) -> bool:
    """Return whether something stands at the path, of which `*` is every entry of a list."""
    if not path:
        return True
    return any(has_path(part, path[1:]) for part in _parts(value, path[0]))


def without_path(value: Any, path: Sequence[str], only: Any = None) -> Any:
    """Return a copy of `value` without what stands at the path; `only`: where it has that value."""
    name, *rest = path
    if name == "*":
        return [without_path(part, rest, only) for part in value] if isinstance(value, list) else value
    if not isinstance(value, dict) or name not in value:
        return value
    if rest:
        return {**value, name: without_path(value[name], rest, only)}
    if only is not None and value[name] != only:
        return value
    return {key: part for key, part in value.items() if key != name}


def _parts(value: Any, name: str) -> Iterator[Any]:
    if name == "*" and isinstance(value, list):
        yield from value
    elif isinstance(value, dict) and name in value:
        yield value[name]
