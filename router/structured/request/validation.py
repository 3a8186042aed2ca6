"""Checks on the values of request fields. Each failure is a 400 that names the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.errors import BadRequest


def require_object(value: object, param: str) -> Mapping[str, Any]:
    """Return `value` if it is an object, else raise BadRequest."""
    if not isinstance(value, Mapping):
        raise expected(param, "an object")
    return value


def require_array(value: object, param: str) -> list[Any]:
    """Return `value` if it is an array, else raise BadRequest."""
    if not isinstance(value, list):
        raise expected(param, "an array")
    return value


def require_entries(value: object, param: str, maximum: int) -> list[Any]:
    """Return `value` if it is an array of 1 to `maximum` entries, else raise BadRequest."""
    array = require_array(value, param)
    if not array:
        raise expected(param, "at least one entry")
    check_limit(len(array), "entries", maximum, param)
    return array


def require_text(value: object, param: str, maximum: int) -> str:
    """Return `value` if it is a string of 1 to `maximum` characters, else raise BadRequest."""
    if not isinstance(value, str) or not value:
        raise expected(param, "a non-empty string")
    check_limit(len(value), "characters", maximum, param)
    return value


def check_limit(count: int, unit: str, maximum: int, param: str) -> None:
    """Raise BadRequest if `count` is above `maximum`."""
    if count > maximum:
        raise BadRequest(f"Invalid '{param}': it has {count} {unit}, at most {maximum} are allowed.", param=param)


def expected(param: str, what: str) -> BadRequest:
    """Return the error for a value of the wrong type or content."""
    return BadRequest(f"Invalid value for '{param}': expected {what}.", param=param)


def missing(param: str) -> BadRequest:
    """Return the error for a required field that is missing."""
    return BadRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def conflict(one: str, other: str) -> BadRequest:
    """Return the error for two fields that exclude each other."""
    return BadRequest(f"'{one}' and '{other}' cannot be used together.", param=other)
