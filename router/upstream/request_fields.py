"""Changes to a request's fields that several dialects make. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router.structured.constraint import CallConstraint
from router.structured.request.tools import requested_tools
from router.types import ChatCall


def use_system_role(call: ChatCall, fields: dict[str, Any]) -> None:
    """Make messages of `developer` messages of `system`: chat templates know no other."""
    messages = call.endpoint.messages(call.body)
    if any(message["role"] == "developer" for message in messages):
        fields["messages"] = [as_system(message) for message in messages]


def limit_tools(call: ChatCall, fields: dict[str, Any]) -> None:
    """Write a `tool_choice` that is an object as a word, and send only the tools that it allows."""
    if isinstance(call.body.get("tool_choice"), Mapping) and (requested := requested_tools(call.body)):
        allowed = {tool.name for tool in requested.tools}
        fields["tools"] = [tool for tool in call.body["tools"] if tool["function"]["name"] in allowed]
        fields["tool_choice"] = "required" if requested.required else "auto"


def rename(fields: dict[str, Any], names: Mapping[str, str]) -> tuple[str, ...]:
    """Rename fields that the engine knows by another name, unless it was given that one, too.

    Returns:
        What was changed, such as `max_tokens=max_completion_tokens`.
    """
    changes = []
    for old, new in names.items():
        if old in fields:
            fields.setdefault(new, fields[old])
            del fields[old]
            changes.append(f"{old}={new}")
    return tuple(changes)


def drop(fields: dict[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    """Remove fields; return what was changed, such as `top_k=dropped`."""
    present = sorted(fields.keys() & names)
    for name in present:
        del fields[name]
    return tuple(f"{name}=dropped" for name in present)


def call_schema(calls: CallConstraint) -> Mapping[str, Any] | None:
    """Return the JSON schema of one required call as text; None: the schema of a tool cannot become a part of it.

    A reference within a tool's schema would no longer lead anywhere. One call is enough: small models do not end a list
    of calls.
    """
    each = []
    for tool in calls.tools.values():
        if tool.parameters and "$ref" in tool.parameters.text:
            return None
        arguments = tool.parameters.value if tool.parameters else {"type": "object"}
        properties = {"name": {"const": tool.name}, "arguments": arguments}
        each.append({"type": "object", "properties": properties, "required": [*properties]})
    return each[0] if len(each) == 1 else {"anyOf": each}


def as_system(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message of `developer` as one of `system`, and any other unchanged."""
    return {**message, "role": "system"} if message.get("role") == "developer" else message
