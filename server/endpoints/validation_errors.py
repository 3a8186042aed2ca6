"""Translate pydantic's errors into OpenAI's: one fault for each request, the first and most specific one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from router.errors import BadRequest
from server.endpoints.schemas import TAGS

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
_LENGTHS = {
    "too_short": ("array", "element"),
    "too_long": ("array", "element"),
    "string_too_short": ("string", "character"),
    "string_too_long": ("string", "character"),
}
_BOUNDS = {
    "greater_than_equal": ("below_min_value", ">="),
    "greater_than": ("below_min_value", ">"),
    "less_than_equal": ("above_max_value", "<="),
    "less_than": ("above_max_value", "<"),
}


def bad_request(error: ValidationError) -> BadRequest:
    """Return the error for a request that pydantic refused. It quotes at most a few words of the request."""
    fault, expected = _most_specific(error.errors(include_url=False))
    where = param(part for part in fault["loc"] if part not in TAGS)
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "missing":
        return missing(where)
    if kind == "extra_forbidden":
        return BadRequest(f"Unknown parameter: '{where}'.", param=where, code="unknown_parameter")
    if expected or kind in _EXPECTED:
        return invalid_type(where, expected or _EXPECTED[kind], value)
    if kind in _BOUNDS:
        code, sign = _BOUNDS[kind]
        limit = next(iter(context.values()))
        number = "integer" if isinstance(limit, int) else "decimal"
        side = "below minimum" if sign[0] == ">" else "above maximum"
        limit = limit if number == "integer" else f"{limit:g}"
        message = f"Invalid '{where}': {number} {side} value. Expected a value {sign} {limit}, but got {quoted(value)}."
        return BadRequest(message, param=where, code=f"{number}_{code}")
    if kind in _LENGTHS:
        what, unit = _LENGTHS[kind]
        if "min_length" in context:
            message = f"Invalid '{where}': empty {what}. Expected at least {context['min_length']} {unit}."
            return BadRequest(message, param=where, code=f"empty_{what}")
        message = (
            f"Invalid '{where}': {what} too long. Expected at most {context['max_length']} {unit}s, got {len(value)}."
        )
        return BadRequest(message, param=where, code=f"{what}_above_max_length")
    if kind == "literal_error":
        return BadRequest(
            f"Invalid value for '{where}': expected {context['expected']}, but got {quoted(value)} instead.",
            param=where,
        )
    if kind == "string_pattern_mismatch":
        return BadRequest(f"Invalid '{where}': expected a string that matches {context['pattern']}.", param=where)
    return BadRequest(f"Invalid value for '{where}': {fault['msg'][:200]}.", param=where)


def invalid_type(where: str, expected: str, value: object) -> BadRequest:
    """Return the error for a value of the wrong type."""
    return BadRequest(
        f"Invalid type for '{where}': expected {expected}, but got {_json_type(value)} instead.",
        param=where,
        code="invalid_type",
    )


def missing(where: str) -> BadRequest:
    """Return the error for a request without a required field."""
    return BadRequest(f"Missing required parameter: '{where}'.", param=where, code="missing_required_parameter")


def param(path: Any) -> str:
    """Return a path in OpenAI's format, such as `messages[0].content`. Long keys are cut."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part[:64]}" if text else part[:64]
    return text


def quoted(value: object) -> str:
    """Return a value for an error message, cut to 40 characters."""
    text = repr(value) if isinstance(value, (str, int, float)) else _json_type(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _most_specific(faults: Sequence[ErrorDetails]) -> tuple[ErrorDetails, str]:
    """Return the fault to report. If no member of a union matches at all, also return the types that it expects.

    1. The first fault is not in a union: report it.
    2. The value has no type of the union: report all its types.
    3. One member fails deeper than the others, or not because of its type: report the fault of that member.
    4. Several members fail at equal depth in different fields: report that the value as a whole has no type of the
       union.
    """
    first = faults[0]
    start = next((i for i, part in enumerate(first["loc"]) if part in TAGS), None)
    if start is None:
        return first, ""
    here = first["loc"][:start]
    members = [fault for fault in faults if fault["loc"][:start] == here and len(fault["loc"]) > start]
    depth = max(len(fault["loc"]) for fault in members)
    deepest = [fault for fault in members if len(fault["loc"]) == depth]
    other = [fault for fault in deepest if fault["type"] not in _EXPECTED]
    if depth > start + 1 and len({fault["loc"][start + 1 :] for fault in deepest}) == len(deepest) == 1:
        return deepest[0], ""
    if other:
        return other[0], ""
    whole: Any = {**first, "loc": here, "input": first["input"]}
    return whole, _join_with_or([str(fault["loc"][start]) for fault in members])


def _join_with_or(words: Sequence[str]) -> str:
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else f"{', '.join(unique[:-1])} or {unique[-1]}"


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case _:
            return "an array"
