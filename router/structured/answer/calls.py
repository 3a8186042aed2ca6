"""Are the calls of an answer well formed, and calls of known tools with arguments that satisfy their schemas?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from secrets import token_hex
from types import MappingProxyType
from typing import Any, NamedTuple

from router.messages.strict_json import NotJson
from router.structured.answer.instance import instance_fault, one_line
from router.structured.answer.reasoning import without_thought
from router.structured.answer.repair import read
from router.structured.constraint import Calls, Tool
from router.structured.workers.grammar_workers import Fault, GrammarWorkers

OPEN, CLOSE = "<tool_call>", "</tool_call>"
"""around calls that models write as text"""
_BESIDE = frozenset({"type", "id"})
"""what may stand beside name and arguments of a call that is written as text"""

_Call = Mapping[str, Any]


class Judged(NamedTuple):
    """What was found of the calls, and the message's field as it may leave; of no use beside a fault."""

    fault: Fault | None
    fields: Mapping[str, Any] = MappingProxyType({})


async def judge_calls(calls: Calls | None, message: Mapping[str, Any], workers: GrammarWorkers) -> Judged:
    """Judge the calls of a message.

    1. They come in the field that was asked for, no more of them than may be.
    2. Each is one of a known function; a missing type or id, or an id that came before, is made good.
    3. Its arguments are the text of one strict JSON object that satisfies the function's schema. An object instead
       of its text is written out; none at all are no arguments.
    """
    if calls is None:
        return Judged(Fault("", "a function is called, but none may be"))
    field, other = ("function_call", "tool_calls") if calls.legacy else ("tool_calls", "function_call")
    made = message.get(field)
    if message.get(other) or not made:
        return Judged(Fault(f"/{other}", f"a call has to come as '{field}'"))
    if calls.legacy:
        fault, function = await _function(calls, made, "/function_call", workers)
        return Judged(fault, {"function_call": function})
    if not isinstance(made, list):
        return Judged(Fault("/tool_calls", "the calls are not an array"))
    if calls.single and len(made) > 1:
        return Judged(Fault("/tool_calls/1", f"there are {len(made)} calls, at most one is allowed"))
    whole: list[dict[str, Any]] = []
    for i, call in enumerate(made):
        at = f"/tool_calls/{i}"
        if not isinstance(call, Mapping):
            return Judged(Fault(at, "the call is not an object"))
        if call.get("type") not in (None, "", "function"):
            return Judged(Fault(f"{at}/type", 'the type of a call is "function"'))
        fault, function = await _function(calls, call.get("function"), f"{at}/function", workers)
        if fault:
            return Judged(fault)
        whole.append({**call, "type": "function", "function": function})
    return Judged(None, {"tool_calls": _with_ids(whole)})


def written_calls(calls: Calls, content: str) -> Mapping[str, Any] | None:
    """Return the message that a model means which writes its calls as text; None: it is something else.

    Nothing but calls is in it, bare, fenced or in `<tool_call>` tags, maybe behind thoughts: an object, or an array of
    them, of a name and `arguments` or `parameters`. Other names than those of the tools make it an answer in JSON,
    unless there must be a call.
    """
    functions: list[dict[str, Any]] = []
    for part in _parts(without_thought(content)[1].strip()):
        try:
            _, value = read(part, prose=False)
        except NotJson:
            return None
        for item in value if isinstance(value, list) else [value]:
            function = _as_function(item)
            if function is None or not (calls.required or function["name"] in calls.tools):
                return None
            functions.append(function)
    if not functions or (calls.legacy and len(functions) > 1):
        return None
    if calls.legacy:
        return {"function_call": functions[0]}
    return {"tool_calls": [{"function": function} for function in functions]}


def cut_arguments(message: Mapping[str, Any], fault: Fault) -> str | None:
    """Return the arguments of the last call where the fault is in them, as they have come; None: it is not."""
    made = message.get("tool_calls")
    if isinstance(made, list) and made:
        function, at = made[-1].get("function") if isinstance(made[-1], Mapping) else None, len(made) - 1
        place = f"/tool_calls/{at}/function/arguments"
    else:
        function, place = message.get("function_call"), "/function_call/arguments"
    if not isinstance(function, Mapping) or not f"{fault.path}/".startswith(f"{place}/"):
        return None
    arguments = function.get("arguments") or ""
    return arguments if isinstance(arguments, str) else None


async def _function(calls: Calls, function: object, at: str, workers: GrammarWorkers) -> tuple[Fault | None, _Call]:
    if not isinstance(function, Mapping):
        return Fault(at, "the function is not an object"), {}
    name = function.get("name")
    tool = calls.tools.get(name) if isinstance(name, str) else None
    if tool is None:
        known = ", ".join(map(repr, calls.tools))
        return Fault(f"{at}/name", one_line(f"{str(name)[:64]!r} is none of the functions: {known}")), {}
    fault, text = await _arguments(tool, function.get("arguments"), workers)
    return fault and Fault(f"{at}/arguments{fault.path}", fault.message), {**function, "arguments": text}


async def _arguments(tool: Tool, arguments: object, workers: GrammarWorkers) -> tuple[Fault | None, str]:
    try:
        text, value = read(_as_text(arguments))
    except NotJson as error:
        return Fault("", f"not strict JSON: {error}"), ""
    if not isinstance(value, dict):
        return Fault("", "the arguments are not a JSON object"), ""
    return await instance_fault(tool.parameters, text, value, workers) if tool.parameters else None, text


def _as_text(arguments: object) -> str:
    if arguments is None:
        return "{}"
    if isinstance(arguments, str):
        return arguments if arguments.strip() else "{}"
    try:
        return json.dumps(arguments, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        raise NotJson("nested too deep, or with a number that JSON has not") from None


def _with_ids(calls: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    taken: set[str] = set()
    identified = []
    for call in calls:
        given = call.get("id")
        own = given if isinstance(given, str) and given and given not in taken else f"call_{token_hex(12)}"
        taken.add(own)
        identified.append({**call, "id": own})
    return identified


def _parts(text: str) -> list[str]:
    """Return the insides of the tags that a text consists of, or the text where it has none."""
    if not text.startswith(OPEN):
        return [text]
    *parts, rest = text.split(CLOSE)
    if rest.strip() or not all(part.lstrip().startswith(OPEN) for part in parts):
        return [text]
    return [part.lstrip().removeprefix(OPEN) for part in parts]


def _as_function(item: object) -> dict[str, Any] | None:
    if (
        isinstance(item, Mapping)
        and isinstance(item.get("function"), Mapping)
        and item.keys() <= {*_BESIDE, "function"}
    ):
        item = item["function"]
    if not isinstance(item, Mapping) or item.get("type", "function") != "function":
        return None
    arguments = "parameters" if "parameters" in item else "arguments"
    if item.keys() - _BESIDE != {"name", arguments} or not isinstance(item["name"], str):
        return None
    return {"name": item["name"], "arguments": item[arguments]}
