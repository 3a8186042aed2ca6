"""A judge that shares no code with the gateway: it uses the standard library's json, and jsonschema-rs.

It decides whether a client that relies on the requested format can use an answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jsonschema_rs

MOST = 200  # characters of a fault


class NotStrict(ValueError):
    """The text is not JSON that every parser reads alike."""


def strict(text: str) -> Any:
    """Parse JSON in which no object repeats a key and every number fits a double.

    Raises:
        NotStrict: it is not.
    """
    try:
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite, parse_int=_whole
        )
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise NotStrict(str(error) or "nested too deep") from None
    return value


def fault_of_text(text: object, schema: dict[str, Any] | bool | None) -> str:
    """Return why a text is not JSON that satisfies the schema (None: any object does); empty if it is."""
    if not isinstance(text, str):
        return "there is no text"
    try:
        value = strict(text)
    except NotStrict as error:
        return f"not strict JSON: {error}"[:MOST]
    if schema is None:
        return "" if isinstance(value, dict) else "no JSON object"
    try:
        jsonschema_rs.validate(schema, value, validate_formats=True, offline=True)
    except (jsonschema_rs.ValidationError, ValueError) as error:
        return f"breaks the schema: {error.args[0] if error.args else error}"[:MOST]
    return ""


def fault_of(asked: Mapping[str, Any], choice: Mapping[str, Any]) -> str:
    """Return why one finished choice is not what the request asked for; empty if it is.

    A choice that is marked as cut (`length`), refused or filtered is allowed, as in OpenAI's API.
    """
    message = choice["message"]
    if choice.get("finish_reason") in ("length", "content_filter") or message.get("refusal"):
        return ""
    tools = {tool["function"]["name"]: tool["function"].get("parameters") for tool in asked.get("tools", ())}
    if calls := message.get("tool_calls"):
        single = asked.get("parallel_tool_calls") is False
        return _fault_of_calls(calls, tools, single, named(asked.get("tool_choice")))
    if tools and asked.get("tool_choice", "auto") != "auto":
        return "no call, but a call is required"
    return _fault_of_form(asked, message.get("content"))


def named(tool_choice: object) -> str | None:
    """Return the function that a `tool_choice` names; None: it names none."""
    return tool_choice["function"]["name"] if isinstance(tool_choice, Mapping) else None


def _fault_of_form(asked: Mapping[str, Any], text: object) -> str:
    if choices := asked.get("structured_outputs", {}).get("choice"):
        return "" if text in choices else "none of the choices"
    wanted = asked.get("response_format")
    if wanted is None:
        return "" if isinstance(text, str) and text else "an empty answer"
    return fault_of_text(text, wanted["json_schema"]["schema"] if wanted["type"] == "json_schema" else None)


def _fault_of_calls(
    calls: Sequence[Mapping[str, Any]], tools: Mapping[str, Any], single: bool, only: str | None
) -> str:
    if single and len(calls) > 1:
        return f"{len(calls)} calls, but one is allowed"
    ids = [call.get("id") for call in calls]
    if not all(isinstance(one, str) and one for one in ids) or len({*ids}) != len(ids):
        return f"the calls' ids are {ids}"
    for call in calls:
        name = call["function"].get("name")
        if call.get("type") != "function" or name not in tools or only not in (None, name):
            return f"a call of {name!r}, type {call.get('type')!r}"
        arguments = call["function"].get("arguments")
        if fault := fault_of_text(arguments, None) or fault_of_text(arguments, tools[name] or {}):
            return f"arguments of {name}: {fault}"
    return ""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise NotStrict("a key comes twice")
    return value


def _refuse(word: str) -> Any:
    raise NotStrict(f"{word} is no JSON")


def _finite(digits: str) -> float:
    if math.isinf(value := float(digits)):
        raise NotStrict("a number beyond a double")
    return value


def _whole(digits: str) -> int:
    _finite(digits)
    return int(digits)
