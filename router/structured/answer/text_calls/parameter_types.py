"""The value that a text stands for where a format writes parameters as plain text: their schema decides. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from router.messages.strict_json import NotJson, loads
from router.structured.complexity import resolve_pointer
from router.structured.constraint import Tool

SCALARS = frozenset({"null", "boolean", "integer", "number"})
_WORDS = {"null": None, "None": None, "true": True, "True": True, "false": False, "False": False}
_IN_PLACE = ("allOf", "anyOf", "oneOf")
_UNKNOWN: frozenset[str] = frozenset()


def parameter_types(tool: Tool | None, name: str) -> frozenset[str]:
    """Return the JSON types that a tool's parameter may have. Empty: its schema does not say."""
    if tool is None or tool.parameters is None:
        return _UNKNOWN
    root = tool.parameters.value
    named, others = list[Any](), list[Any]()
    for schema in _in_place(root, root):
        properties = schema.get("properties")
        if isinstance(properties, Mapping) and name in properties:
            named.append(properties[name])
        elif "additionalProperties" in schema:
            others.append(schema["additionalProperties"])
    return frozenset(
        kind for schema in named or others for part in _in_place(root, schema) for kind in _own_types(part)
    )


def typed_value(text: str, types: frozenset[str]) -> Any:
    """Return the value that a text stands for: JSON of another type if that type is allowed, else the text itself."""
    others = types - {"string"}
    if not others:
        return text
    bare = text.strip()
    try:
        value = _WORDS[bare] if bare in _WORDS else loads(bare, unique_keys=True)
    except NotJson:
        return text
    return text if others.isdisjoint(_types_of(value)) else value


def _in_place(root: Any, schema: Any) -> Iterator[Mapping[str, Any]]:
    """Yield a schema and the subschemas that apply to the same value, each once."""
    seen, waiting = set[int](), [schema]
    while waiting:
        part = waiting.pop()
        if not isinstance(part, Mapping) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        for keyword in _IN_PLACE:
            if isinstance(branches := part.get(keyword), list):
                waiting += branches
        reference = part.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            waiting.append(resolve_pointer(root, unquote(reference)))


def _own_types(schema: Mapping[str, Any]) -> Iterator[str]:
    kind, values = schema.get("type"), schema.get("enum")
    yield from [kind] if isinstance(kind, str) else kind if isinstance(kind, list) else ()
    for value in [*(values if isinstance(values, list) else ()), *([schema["const"]] if "const" in schema else ())]:
        yield from _types_of(value)


def _types_of(value: Any) -> tuple[str, ...]:
    match value:
        case None:
            return ("null",)
        case bool():
            return ("boolean",)
        case int():
            return ("integer", "number")
        case float():
            return ("integer", "number") if value.is_integer() else ("number",)
        case str():
            return ("string",)
        case list():
            return ("array",)
    return ("object",)
