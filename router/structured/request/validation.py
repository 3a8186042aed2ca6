"""What a value of a request has to be, or a 400 that names its field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from router.errors import BadRequest


def an_object(value: object, param: str) -> Mapping[str, Any]:
    """Return `value` if it is an object."""
    if not isinstance(value, Mapping):
        raise expected(param, "an object")
    return value


def an_array(value: object, param: str) -> list[Any]:
    """Return `value` if it is an array."""
    if not isinstance(value, list):
        raise expected(param, "an array")
    return value


def entries(value: object, param: str, most: int) -> list[Any]:
    """Return `value` if it is an array of at least one entry, and of no more than `most`."""
    array = an_array(value, param)
    if not array:
        raise expected(param, "at least one entry")
    limit(len(array), "entries", most, param)
    return array


def a_text(value: object, param: str, most: int) -> str:
    """Return `value` if it is a string that is not empty, nor longer than `most`."""
    if not isinstance(value, str) or not value:
        raise expected(param, "a string that is not empty")
    limit(len(value), "characters", most, param)
    return value


def limit(count: int, unit: str, most: int, param: str) -> None:
    """Refuse what is too much."""
    if count > most:
        raise BadRequest(f"Invalid '{param}': it has {count} {unit}, at most {most} are allowed.", param=param)


def expected(param: str, what: str) -> BadRequest:
    """Return the answer to a value that is not what it has to be."""
    return BadRequest(f"Invalid value for '{param}': expected {what}.", param=param)


def missing(param: str) -> BadRequest:
    """Return the answer to a value that has to be there and is not."""
    return BadRequest(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")


def conflict(one: str, other: str) -> BadRequest:
    """Return the answer to two fields of which only one may be there."""
    return BadRequest(f"'{one}' and '{other}' cannot be used together.", param=other)
