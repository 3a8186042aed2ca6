"""JSON as RFC 8259 has it, and no more: what every other reader of the same text will read too."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec
import orjson

MAX_DEPTH = 200
"""Levels of nesting. More is an attack or a model that repeats itself; C readers further on would crash on it."""

_ESCAPED_COLON = "\\u003"
_NO_STRUCTURE = bytes({*range(256)} - {*b":{["})
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJson(ValueError):
    """The text is no strict JSON; the message says where or why, and never repeats more than a key of it."""


def decode(raw: bytes) -> Any:
    """Parse one JSON value in UTF-8, fast. Like `loads`, but an integer beyond a double stays an exact one.

    Raises:
        NotJson: as of `loads`, which words it.
        UnicodeDecodeError: it is not UTF-8.
    """
    try:
        value = _FAST.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return loads(raw.decode())
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise _too_deep()
    return value


def loads(text: str, *, unique_keys: bool = False) -> Any:
    """Parse one JSON value; integers stay exact. With `unique_keys` an object that names a key twice is refused.

    Raises:
        NotJson: syntax, NaN or Infinity, a number beyond a double, a lone surrogate, nesting over MAX_DEPTH.
    """
    if not unique_keys:
        return _carefully(text, _PLAIN)
    try:
        return _unique_at_once(text)
    except (msgspec.DecodeError, orjson.JSONEncodeError, ValueError, RecursionError):
        return _carefully(text, _UNIQUE)


def _carefully(text: str, decoder: json.JSONDecoder) -> Any:
    if text.startswith("\ufeff"):
        raise NotJson("it starts with a byte order mark")
    try:
        if not text.isascii():
            text.encode()
        value = decoder.decode(text)
        if text.count("{") + text.count("[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
            raise RecursionError
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} (line {error.lineno} column {error.colno})") from None
    except UnicodeEncodeError:
        raise NotJson("a string holds half of a surrogate pair, which no UTF-8 text can") from None
    except RecursionError:
        raise _too_deep() from None
    return value


def _unique_at_once(text: str) -> Any:
    """Parse what is surely fine, at half the time; any error: it has to be read with care.

    A key named twice is lost in the value, and its colon with it. An integer beyond 64 bits, which a double may not
    hold either, cannot be written again.
    """
    raw = text.encode()
    value = _FAST.decode(raw)
    structure = raw.translate(None, _NO_STRUCTURE)
    colons = structure.count(b":")
    if colons != orjson.dumps(value).count(b":") or ("\\" in text and _ESCAPED_COLON in text):
        raise ValueError
    if len(structure) - colons > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise ValueError
    return value


def _too_deep() -> NotJson:
    return NotJson(f"nested deeper than {MAX_DEPTH} levels")


def _constant(word: str) -> Any:
    raise NotJson(f"{word} is not JSON")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise NotJson("a number is too large for a double")
    return value


def _int(digits: str) -> int:
    # a double ends at 1.8e308; checked before int(), whose time is quadratic and whose limit raises
    if len(digits) > 308 and (len(digits) > 310 or math.isinf(float(digits))):
        raise NotJson("a number is too large for a double")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotJson(f"an object names a key twice: {json.dumps(twice[:64])}")
    return value


_FAST = msgspec.json.Decoder()
_PLAIN = json.JSONDecoder(parse_float=_float, parse_int=_int, parse_constant=_constant)
_UNIQUE = json.JSONDecoder(parse_float=_float, parse_int=_int, parse_constant=_constant, object_pairs_hook=_object)


def _deeper(value: Any, levels: int) -> bool:
    """Return whether containers nest deeper than that; level by level, so that no depth can hurt it."""
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(levels):
        if not level:
            return False
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
    return bool(level)
