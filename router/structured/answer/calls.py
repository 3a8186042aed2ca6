"""Checks tool calls: are they well formed, and do they call known tools with arguments that satisfy their schemas?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from secrets import token_hex
from types import MappingProxyType
from typing import Any, NamedTuple

from router.messages.strict_json import NotJson
from router.structured.answer.instance import instance_fault, one_line
from router.structured.answer.repair import repair_json
from router.structured.constraint import CallConstraint, Tool
from router.structured.workers.grammar_workers import Fault, GrammarWorkers

_Function = Mapping[str, Any]


class CheckedCalls(NamedTuple):
    """The result of checking a message's calls."""

    fault: Fault | None
    fields: Mapping[str, Any] = MappingProxyType({})
    """the message's field with the calls, repaired where needed; meaningless if there is a fault"""


async def check_calls(
    constraint: CallConstraint | None, message: Mapping[str, Any], workers: GrammarWorkers
) -> CheckedCalls:
    """Check the calls of a message.

    1. They are in the requested field, and there are not more of them than allowed.
    2. Each calls a known function. A missing type, a missing id and a duplicate id are repaired.
    3. The arguments are the text of one strict JSON object that satisfies the function's schema. An object instead
       of its text is serialized. Missing arguments count as an empty object.
    """
    if constraint is None:
        return CheckedCalls(Fault("", "a function is called, but no calls are allowed"))
    field, other = ("function_call", "tool_calls") if constraint.legacy else ("tool_calls", "function_call")
    calls = message.get(field)
    if message.get(other) or not calls:
        return CheckedCalls(Fault(f"/{other}", f"a call must be in '{field}'"))
    if constraint.legacy:
        fault, function = await _check_function(constraint, calls, "/function_call", workers)
        return CheckedCalls(fault, {"function_call": function})
    if not isinstance(calls, list):
        return CheckedCalls(Fault("/tool_calls", "the calls are not an array"))
    if constraint.single and len(calls) > 1:
        return CheckedCalls(Fault("/tool_calls/1", f"there are {len(calls)} calls, at most one is allowed"))
    checked: list[dict[str, Any]] = []
    for i, call in enumerate(calls):
        at = f"/tool_calls/{i}"
        if not isinstance(call, Mapping):
            return CheckedCalls(Fault(at, "the call is not an object"))
        if call.get("type") not in (None, "", "function"):
            return CheckedCalls(Fault(f"{at}/type", 'the type of a call must be "function"'))
        fault, function = await _check_function(constraint, call.get("function"), f"{at}/function", workers)
        if fault:
            return CheckedCalls(fault)
        checked.append({**call, "type": "function", "function": function})
    return CheckedCalls(None, {"tool_calls": _with_unique_ids(checked)})


def truncated_arguments(message: Mapping[str, Any], fault: Fault) -> str | None:
    """Return the arguments of the last call if the fault is in them, else None."""
    calls = message.get("tool_calls")
    if isinstance(calls, list) and calls:
        function = calls[-1].get("function") if isinstance(calls[-1], Mapping) else None
        path = f"/tool_calls/{len(calls) - 1}/function/arguments"
    else:
        function, path = message.get("function_call"), "/function_call/arguments"
    if not isinstance(function, Mapping) or not f"{fault.path}/".startswith(f"{path}/"):
        return None
    arguments = function.get("arguments") or ""
    return arguments if isinstance(arguments, str) else None


async def _check_function(
    constraint: CallConstraint, function: object, at: str, workers: GrammarWorkers
) -> tuple[Fault | None, _Function]:
    if not isinstance(function, Mapping):
        return Fault(at, "the function is not an object"), {}
    name = function.get("name")
    tool = constraint.tools.get(name) if isinstance(name, str) else None
    if tool is None:
        known = ", ".join(map(repr, constraint.tools))
        return Fault(f"{at}/name", one_line(f"{str(name)[:64]!r} is not one of the functions: {known}")), {}
    fault, text = await _check_arguments(tool, function.get("arguments"), workers)
    return fault and Fault(f"{at}/arguments{fault.path}", fault.message), {**function, "arguments": text}


async def _check_arguments(tool: Tool, arguments: object, workers: GrammarWorkers) -> tuple[Fault | None, str]:
    try:
        text, value = repair_json(_arguments_text(arguments))
    except NotJson as error:
        return Fault("", f"not strict JSON: {error}"), ""
    if not isinstance(value, dict):
        return Fault("", "the arguments are not a JSON object"), ""
    return await instance_fault(tool.parameters, text, value, workers) if tool.parameters else None, text


def _arguments_text(arguments: object) -> str:
    if arguments is None:
        return "{}"
    if isinstance(arguments, str):
        return arguments if arguments.strip() else "{}"
    try:
        return json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise NotJson("nested too deeply, or with a number that JSON cannot represent") from None


def _with_unique_ids(calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    used: set[str] = set()
    result = []
    for call in calls:
        sent = call.get("id")
        unique = sent if isinstance(sent, str) and sent and sent not in used else f"call_{token_hex(12)}"
        used.add(unique)
        result.append({**call, "id": unique})
    return result
