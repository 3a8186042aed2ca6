"""The functions that a chat request lets the model call, read from its fields. The rules are in `output_format`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from router.errors import BadRequest
from router.structured.request.validation import (
    conflict,
    expected,
    missing,
    require_array,
    require_entries,
    require_object,
)

CALL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")


@dataclass(frozen=True, slots=True, eq=False)
class RequestedTool:
    """A function that may be called.

    `parameters` is the schema in the request field `param`. If it is None, the arguments may be any object.
    """

    name: str
    index: int
    """its position in `tools` or `functions`"""
    param: str
    parameters: object
    strict: bool


@dataclass(frozen=True, slots=True, eq=False)
class RequestedTools:
    """The functions that may be called, and how: see `CallConstraint`."""

    tools: tuple[RequestedTool, ...]
    required: bool
    single: bool
    legacy: bool


def requested_tools(body: Mapping[str, Any]) -> RequestedTools | None:
    """Return the calls that a chat request allows or requires, or None if it allows no calls.

    Raises:
        BadRequest: a tool has no name or the name of another tool, or `tool_choice` names an unknown tool.
    """
    if body.get("tools") and body.get("functions"):
        if body.get("tool_choice") == body.get("function_call") == "none":
            return None
        raise conflict("tools", "functions")
    if body.get("functions") or isinstance(body.get("function_call"), Mapping):
        return _legacy_calls(body)
    listed = enumerate(require_array(body.get("tools") or [], "tools"))
    tools = _by_name(
        (f"tools[{i}].function", require_object(tool, f"tools[{i}]").get("function")) for i, tool in listed
    )
    single = body.get("parallel_tool_calls") is False
    match body.get("tool_choice"):
        case None | "auto":
            return RequestedTools(tuple(tools.values()), False, single, False) if tools else None
        case "none":
            return None
        case "required":
            _require_tools(tools)
            return RequestedTools(tuple(tools.values()), True, single, False)
        case {"type": "function", **choice}:
            named = _tool_named(choice.get("function"), "tool_choice.function", tools, "tools")
            return RequestedTools((named,), True, single, False)
        case {"type": "allowed_tools", **choice}:
            _require_tools(tools)
            mode, allowed = _allowed_tools(choice.get("allowed_tools"), tools)
            return RequestedTools(allowed, mode == "required", single, False)
        case Mapping():
            raise expected("tool_choice.type", "'function' or 'allowed_tools'")
        case _:
            raise expected("tool_choice", "'none', 'auto', 'required', or an object that names a function")


def _by_name(functions: Iterable[tuple[str, object]]) -> dict[str, RequestedTool]:
    tools: dict[str, RequestedTool] = {}
    for i, (at, value) in enumerate(functions):
        function = require_object(value, at)
        name, parameters = function.get("name"), function.get("parameters")
        if not isinstance(name, str) or not name:
            raise missing(f"{at}.name")
        if name in tools:
            message = f"Invalid '{at}.name': an earlier function has the same name {name[:64]!r}."
            raise BadRequest(message, param=f"{at}.name")
        schema = None if parameters in (None, {}) else parameters
        tools[name] = RequestedTool(name, i, f"{at}.parameters", schema, function.get("strict") is True)
    return tools


def _legacy_calls(body: Mapping[str, Any]) -> RequestedTools | None:
    listed = enumerate(require_array(body.get("functions") or [], "functions"))
    functions = _by_name((f"functions[{i}]", function) for i, function in listed)
    match body.get("function_call"):
        case None | "auto":
            return RequestedTools(tuple(functions.values()), False, True, True)
        case "none":
            return None
        case Mapping() as choice:
            return RequestedTools((_tool_named(choice, "function_call", functions, "functions"),), True, True, True)
        case _:
            raise expected("function_call", "'none', 'auto', or an object that names a function")


def _allowed_tools(value: object, tools: Mapping[str, RequestedTool]) -> tuple[str, tuple[RequestedTool, ...]]:
    at = "tool_choice.allowed_tools"
    allowed = require_object(value, at)
    mode = allowed.get("mode")
    if mode not in ("auto", "required"):
        raise expected(f"{at}.mode", "'auto' or 'required'")
    named = []
    for i, one in enumerate(require_entries(allowed.get("tools"), f"{at}.tools", len(tools))):
        function = require_object(one, f"{at}.tools[{i}]").get("function")
        named.append(_tool_named(function, f"{at}.tools[{i}].function", tools, "tools"))
    return mode, tuple(dict.fromkeys(named))


def _tool_named(value: object, at: str, tools: Mapping[str, RequestedTool], field: str) -> RequestedTool:
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str):
        raise missing(f"{at}.name")
    if name not in tools:
        raise BadRequest(
            f"Invalid value for '{at}.name': there is no function {name[:64]!r} in '{field}'.", param=f"{at}.name"
        )
    return tools[name]


def _require_tools(tools: Mapping[str, RequestedTool]) -> None:
    if not tools:
        raise BadRequest("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
