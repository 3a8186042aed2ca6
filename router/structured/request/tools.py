"""Which functions a chat request lets the model call, read from its fields; the rules stand in `asked`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from router.errors import BadRequest
from router.structured.request.validation import an_array, an_object, conflict, entries, expected, missing

CALL_FIELDS = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")


@dataclass(frozen=True, slots=True, eq=False)
class RequestedTool:
    """A function that may be called; `parameters` None: whatever object, else a schema, which stands at `param`."""

    name: str
    param: str
    parameters: object
    strict: bool


@dataclass(frozen=True, slots=True, eq=False)
class RequestedTools:
    """The functions that may be called, and how."""

    tools: tuple[RequestedTool, ...]
    required: bool
    single: bool
    legacy: bool


def requested_tools(body: Mapping[str, Any]) -> RequestedTools | None:
    """Return the calls that a chat request allows or demands; None: none.

    Raises:
        BadRequest: a tool has no name or that of another, or the choice among them names what is not there.
    """
    if body.get("tools") and body.get("functions"):
        raise conflict("tools", "functions")
    if body.get("functions") or isinstance(body.get("function_call"), Mapping):
        return _legacy_calls(body)
    listed = enumerate(an_array(body.get("tools") or [], "tools"))
    tools = _by_name((f"tools[{i}].function", an_object(tool, f"tools[{i}]").get("function")) for i, tool in listed)
    single = body.get("parallel_tool_calls") is False
    match body.get("tool_choice"):
        case None | "auto":
            return RequestedTools(tuple(tools.values()), False, single, False) if tools else None
        case "none":
            return None
        case "required":
            _demand(tools)
            return RequestedTools(tuple(tools.values()), True, single, False)
        case {"type": "function", **choice}:
            named = _named(choice.get("function"), "tool_choice.function", tools, "tools")
            return RequestedTools((named,), True, single, False)
        case {"type": "allowed_tools", **choice}:
            _demand(tools)
            mode, allowed = _allowed(choice.get("allowed_tools"), tools)
            return RequestedTools(allowed, mode == "required", single, False)
        case Mapping():
            raise expected("tool_choice.type", "'function' or 'allowed_tools'")
        case _:
            raise expected("tool_choice", "'none', 'auto', 'required', or an object that names a function")


def _by_name(functions: Iterable[tuple[str, object]]) -> dict[str, RequestedTool]:
    tools: dict[str, RequestedTool] = {}
    for at, value in functions:
        function = an_object(value, at)
        name, parameters = function.get("name"), function.get("parameters")
        if not isinstance(name, str) or not name:
            raise missing(f"{at}.name")
        if name in tools:
            message = f"Invalid '{at}.name': an earlier function is called {name[:64]!r} too."
            raise BadRequest(message, param=f"{at}.name")
        schema = None if parameters in (None, {}) else parameters
        tools[name] = RequestedTool(name, f"{at}.parameters", schema, function.get("strict") is True)
    return tools


def _legacy_calls(body: Mapping[str, Any]) -> RequestedTools | None:
    listed = enumerate(an_array(body.get("functions") or [], "functions"))
    functions = _by_name((f"functions[{i}]", function) for i, function in listed)
    match body.get("function_call"):
        case None | "auto":
            return RequestedTools(tuple(functions.values()), False, True, True)
        case "none":
            return None
        case Mapping() as choice:
            return RequestedTools((_named(choice, "function_call", functions, "functions"),), True, True, True)
        case _:
            raise expected("function_call", "'none', 'auto', or an object that names a function")


def _allowed(value: object, tools: Mapping[str, RequestedTool]) -> tuple[str, tuple[RequestedTool, ...]]:
    at = "tool_choice.allowed_tools"
    allowed = an_object(value, at)
    mode = allowed.get("mode")
    if mode not in ("auto", "required"):
        raise expected(f"{at}.mode", "'auto' or 'required'")
    named = []
    for i, one in enumerate(entries(allowed.get("tools"), f"{at}.tools", len(tools))):
        function = an_object(one, f"{at}.tools[{i}]").get("function")
        named.append(_named(function, f"{at}.tools[{i}].function", tools, "tools"))
    return mode, tuple(dict.fromkeys(named))


def _named(value: object, at: str, tools: Mapping[str, RequestedTool], field: str) -> RequestedTool:
    name = value.get("name") if isinstance(value, Mapping) else None
    if not isinstance(name, str):
        raise missing(f"{at}.name")
    if name not in tools:
        raise BadRequest(
            f"Invalid value for '{at}.name': no function {name[:64]!r} stands in '{field}'.", param=f"{at}.name"
        )
    return tools[name]


def _demand(tools: Mapping[str, RequestedTool]) -> None:
    if not tools:
        raise BadRequest("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
