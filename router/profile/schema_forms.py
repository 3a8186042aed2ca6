"""Forms that some upstreams want schemas to have, in tools and in `response_format`. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from router.profile.fields import plain
from router.profile.profile import Profile
from router.structured.complexity import iter_objects, resolve_pointer

_ANY_OBJECT: Mapping[str, Any] = {"type": "object", "properties": {}}  # some want properties
DIGEST_CHARS = 12
MAX_MOVED = 1_000
"""references that are moved; more would make a schema that no engine takes"""


def digest(schema: Any) -> str:
    """Return the name under which a schema is remembered."""
    return hashlib.sha256(msgspec.json.encode(schema, order="sorted")).hexdigest()[:DIGEST_CHARS]


def apply(profile: Profile, fields: dict[str, Any]) -> Iterator[str]:
    """Give the schemas the forms that are wanted, and yield what was changed, such as `tools.2=unchecked`."""
    forms = [(want, form) for want, form in FORMS.items() if want in profile.wants]
    if not forms and not profile.unenforced:
        return
    if isinstance(tools := plain(fields, "tools"), list):
        changed = [_tool(tool, forms, profile) for tool in tools]
        for index, (tool, change) in enumerate(changed):
            if change:
                tools[index] = tool
                yield f"tools.{index}={change}"
        if any(change for _, change in changed):
            fields["tools"] = tools
    wanted = plain(fields, "response_format")
    wrapper = wanted.get("json_schema") if isinstance(wanted, dict) else None
    if isinstance(wrapper, dict) and "schema" in wrapper:
        schema, words = _formed(wrapper["schema"], forms)
        if words:
            fields["response_format"] = {**wanted, "json_schema": {**wrapper, "schema": schema}}
            yield f"response_format={words}"


def any_of(schema: Any) -> Any:
    """Write `oneOf` as `anyOf`: the answer is checked against the client's own schema."""
    return _mapped(schema, _one_of_as_any_of)


def defs(schema: Any) -> Any:
    """Move what is referred to elsewhere in the document into `$defs`."""
    moved: dict[str, Any] = {}
    names: dict[str, str] = {}

    def change(node: Mapping[str, Any]) -> Mapping[str, Any]:
        target = node.get("$ref")
        if not isinstance(target, str) or target.startswith("#/$defs/") or not target.startswith("#"):
            return node
        if target not in names and len(names) < MAX_MOVED:
            found = schema if target == "#" else resolve_pointer(schema, unquote(target))
            if found is None:
                return node
            name = names[target] = f"moved_{len(names)}"
            moved[name] = {}  # a recursive reference finds its name
            moved[name] = _mapped(found, change)
        return {**node, "$ref": f"#/$defs/{names[target]}"} if target in names else node

    changed = _mapped(schema, change)
    if not moved or not isinstance(changed, dict):
        return schema
    return {**changed, "$defs": {**changed.get("$defs", {}), **moved}}


FORMS: Mapping[str, Callable[[Any], Any]] = {"any_of": any_of, "defs": defs}
"""by the name of the `Want`, in the order in which they are applied"""


def _tool(
    tool: dict[str, Any], forms: list[tuple[str, Callable[[Any], Any]]], profile: Profile
) -> tuple[dict[str, Any], str]:
    function = tool.get("function")
    parameters = function.get("parameters", {}) if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(parameters, dict):
        return tool, ""
    if profile.unenforced and digest(parameters) in profile.unenforced:
        return {**tool, "function": _in_words(function, parameters)}, "unchecked"
    schema, words = _formed(parameters, forms)
    return ({**tool, "function": {**function, "parameters": schema}} if words else tool), words


def _in_words(function: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the arguments in the description: the upstream takes any object, and we check the call."""
    words = f"The arguments must satisfy this JSON schema: {msgspec.json.encode(parameters).decode()}"
    description = "\n".join(filter(None, (function.get("description"), words if parameters else None)))
    kept = {name: value for name, value in function.items() if name != "strict"}
    return {**kept, "description": description, "parameters": _ANY_OBJECT}


def _formed(schema: Any, forms: list[tuple[str, Callable[[Any], Any]]]) -> tuple[Any, str]:
    words: list[str] = []
    for want, form in forms:
        changed = form(schema)
        if changed != schema:
            schema, words = changed, [*words, want]
    return schema, "+".join(words)


def _one_of_as_any_of(node: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(node.get("oneOf"), list):
        return node
    if "anyOf" not in node:
        return {("anyOf" if name == "oneOf" else name): value for name, value in node.items()}
    kept = {name: value for name, value in node.items() if name != "oneOf"}
    return {**kept, "allOf": [*node.get("allOf", ()), {"anyOf": node["oneOf"]}]}


def _mapped(value: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    if isinstance(value, list):
        return [_mapped(part, change) for part in value]
    if not isinstance(value, dict):
        return value
    return {name: _mapped(part, change) for name, part in change(value).items()}


def has_one_of(schema: Any) -> bool:
    """Return whether `any_of` would change the schema."""
    return any(isinstance(node.get("oneOf"), list) for node in iter_objects(schema))


def refers_elsewhere(schema: Any) -> bool:
    """Return whether `defs` would change the schema."""
    return any(
        isinstance(target := node.get("$ref"), str) and target.startswith("#") and not target.startswith("#/$defs/")
        for node in iter_objects(schema)
    )
