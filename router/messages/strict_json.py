"""Strict JSON (RFC 8259): accepts only text that every other parser reads in the same way."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec
import orjson

MAX_DEPTH = 200
"""Levels of nesting. More is an attack or a model in a loop, and would crash C parsers downstream."""

_ESCAPED_COLON = "\\u003"
_NO_STRUCTURE = bytes({*range(256)} - {*b":{["})
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class NotJson(ValueError):
    """The text is not strict JSON. The message names the place or the reason and quotes at most one key."""


def decode(raw: bytes) -> Any:
    """Parse one JSON value in UTF-8, fast. Like `loads`, but an integer beyond a double stays exact.

    Raises:
        NotJson: see `loads`, which writes the message.
        UnicodeDecodeError: the input is not UTF-8.
    """
    try:
        value = _FAST_DECODER.decode(raw)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return loads(raw.decode())
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise _too_deep()
    return value


def loads(text: str, *, unique_keys: bool = False) -> Any:
    """Parse one JSON value. Integers stay exact. With `unique_keys`, duplicate keys are rejected.

    Raises:
        NotJson: syntax, NaN or Infinity, a number beyond a double, a lone surrogate, nesting over MAX_DEPTH.
    """
    if not unique_keys:
        return _loads_slow(text, _SLOW_DECODER)
    try:
        return _loads_unique_fast(text)
    except (msgspec.DecodeError, orjson.JSONEncodeError, ValueError, RecursionError):
        return _loads_slow(text, _SLOW_UNIQUE_DECODER)


def _loads_slow(text: str, decoder: json.JSONDecoder) -> Any:
    if text.startswith("\ufeff"):
        raise NotJson("it starts with a byte order mark")
    try:
        if not text.isascii():
            text.encode()
        value = decoder.decode(text)
        if text.count("{") + text.count("[") > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
            raise RecursionError
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise NotJson(f"{error.msg} (line {error.lineno} column {error.colno})") from None
    except UnicodeEncodeError:
        raise NotJson("a string contains half of a surrogate pair, which UTF-8 cannot encode") from None
    except RecursionError:
        raise _too_deep() from None
    return value


def _loads_unique_fast(text: str) -> Any:
    """Parse text that is certainly valid, in half the time. After any error, use `_loads_slow`.

    Decoding drops a duplicate key, so the encoded value has fewer colons than the text. Encoding fails for an integer
    beyond 64 bits, which may be beyond a double, too.
    """
    raw = text.encode()
    value = _FAST_DECODER.decode(raw)
    structure = raw.translate(None, _NO_STRUCTURE)
    colons = structure.count(b":")
    if colons != orjson.dumps(value).count(b":") or ("\\" in text and _ESCAPED_COLON in text):
        raise ValueError
    if len(structure) - colons > MAX_DEPTH and _is_deeper(value, MAX_DEPTH):
        raise ValueError
    return value


def _too_deep() -> NotJson:
    return NotJson(f"nested deeper than {MAX_DEPTH} levels")


def _reject_constant(word: str) -> Any:
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
        duplicate = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise NotJson(f"an object names a key twice: {json.dumps(duplicate[:64])}")
    return value


_FAST_DECODER = msgspec.json.Decoder()
_SLOW_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_int, parse_constant=_reject_constant)
_SLOW_UNIQUE_DECODER = json.JSONDecoder(
    parse_float=_float, parse_int=_int, parse_constant=_reject_constant, object_pairs_hook=_object
)


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether containers nest deeper than `levels`. It goes level by level, so no depth overflows the stack."""
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
