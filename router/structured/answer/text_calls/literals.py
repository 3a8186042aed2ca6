"""Values in other notations than JSON: Python's, and Gemma's with tokens around strings. Pure."""

from __future__ import annotations

import re
from typing import Any

from router.messages.strict_json import MAX_DEPTH, NotJson, loads
from router.structured.answer.text_calls.parameter_types import SCALARS, typed_value
from router.structured.answer.text_calls.scanner import NotCalls, Scanner, Unfinished

# a quote inside a string ends it only where a string can end: some models do not escape the others
_STRINGS = {quote: re.compile(rf"(?:[^{quote}\\]++|\\.|{quote}(?!\s*+[,:)\]}}]))*+", re.DOTALL) for quote in ("'", '"')}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPES = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", "'": "'", '"': '"', "/": "/", "\n": "",
}  # fmt: skip
_NUMBER = re.compile(r"[-0-9.eE+]++")
_WORD = re.compile(r"[^\W\d]\w*+")
_CONSTANTS = {"None": None, "null": None, "True": True, "true": True, "False": False, "false": False}
_BARE = re.compile(r"[^\s,:{}\[\]()<>\"'`]++")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object with these members.

    Raises:
        NotCalls: two of them have the same name.
    """
    value = dict(pairs)
    if len(value) != len(pairs):
        raise NotCalls
    return value


def python_value(scanner: Scanner, depth: int = 0) -> Any:
    """Read a literal of Python, or JSON's words for its constants. A tuple becomes a list.

    Raises:
        NotCalls: something else follows.
    """
    if depth == MAX_DEPTH:
        raise NotCalls
    scanner.skip_space()
    first = scanner.peek()
    if first in _STRINGS:
        return _python_string(scanner)
    if first in "[(":
        scanner.at += 1
        return scanner.sequence("]" if first == "[" else ")", lambda: python_value(scanner, depth + 1))
    if first == "{":
        scanner.at += 1
        return unique(scanner.sequence("}", lambda: _python_member(scanner, depth + 1)))
    if first in "-0123456789":
        return _number(scanner.token(_NUMBER))
    word = scanner.token(_WORD)
    if word not in _CONSTANTS:
        raise NotCalls
    return _CONSTANTS[word]


def gemma_value(scanner: Scanner, quote: str, types: frozenset[str], depth: int = 0) -> Any:
    """Read a value whose strings stand between two `quote` tokens. Anything else is plain, as is a single word.

    `types` decides about plain text. Empty: it is a number, true, false or null if it looks like one.

    Raises:
        NotCalls: something else follows.
    """
    if depth == MAX_DEPTH:
        raise NotCalls
    scanner.skip_space()
    if scanner.accept(quote):
        text = scanner.until(quote)
        return text if "string" in types else typed_value(text, types)
    if scanner.accept("["):
        return scanner.sequence("]", lambda: gemma_value(scanner, quote, frozenset(), depth + 1))
    if scanner.accept("{"):
        return unique(scanner.sequence("}", lambda: _gemma_member(scanner, quote, depth + 1)))
    return typed_value(scanner.token(_BARE), types or SCALARS)


def gemma_key(scanner: Scanner, quote: str) -> str:
    """Read the name of a member and the colon after it.

    Raises:
        NotCalls: something else follows.
    """
    key = scanner.until(quote) if scanner.accept(quote) else scanner.token(_BARE)
    scanner.skip_space()
    scanner.expect(":")
    return key


def _gemma_member(scanner: Scanner, quote: str, depth: int) -> tuple[str, Any]:
    return gemma_key(scanner, quote), gemma_value(scanner, quote, frozenset(), depth)


def _python_member(scanner: Scanner, depth: int) -> tuple[str, Any]:
    key = _python_string(scanner)
    scanner.skip_space()
    scanner.expect(":")
    return key, python_value(scanner, depth)


def _python_string(scanner: Scanner) -> str:
    quote = scanner.peek()
    if quote not in _STRINGS:
        raise NotCalls
    match = _STRINGS[quote].match(scanner.text, scanner.at + 1)
    if match is None or match.end() == len(scanner.text):
        raise Unfinished
    if scanner.text[match.end()] != quote:  # a backslash at the end of the text
        raise Unfinished
    scanner.at = match.end() + 1
    return _unescaped(match[0]) if "\\" in match[0] else match[0]


def _unescaped(text: str) -> str:
    """Return the string that a literal stands for. Two escaped halves of a surrogate pair become one character."""
    try:
        plain = _ESCAPE.sub(_character, text)
    except (ValueError, OverflowError) as error:  # beyond the last character
        raise NotCalls from error
    return plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _character(match: re.Match[str]) -> str:
    *digits, octal, plain = match.groups()
    if code := next(filter(None, digits), None):
        return chr(int(code, 16))
    return chr(int(octal, 8)) if octal else _ESCAPES.get(plain, match[0])


def _number(text: str) -> Any:
    try:
        return loads(text)
    except NotJson as error:
        raise NotCalls from error
