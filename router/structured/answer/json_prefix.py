"""An incremental parser of strict JSON: rejects a text at the first character that cannot be valid there.

It accepts exactly the prefixes of the texts that `strict_json.loads` accepts with `unique_keys`. The text may be split
anywhere.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

from router.messages.strict_json import MAX_DEPTH, NotJson

_HEX = "[0-9a-fA-F]"
_PLAIN = r'[^"\\\x00-\x1f\ud800-\udfff]'
_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?:'
    rf"[0-9a-cefA-CEF]{_HEX}{{3}}|[dD][0-7]{_HEX}{{2}}"
    rf"|[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}))"
)
_ESCAPE_PREFIX = re.compile(
    r"\\(?:u(?:"
    rf"[0-9a-cefA-CEF]{_HEX}{{0,2}}|[dD](?:[0-7]{_HEX}?"
    rf"|[89abAB](?:{_HEX}(?:{_HEX}(?:\\(?:u(?:[dD](?:[c-fC-F]{_HEX}?)?)?)?)?)?)?)?)?)?"
)
_STRING_CHARS = re.compile(rf"(?:{_PLAIN}++|{_ESCAPE})*+")
_SPACE = r"[ \t\n\r]*+"
_WHITESPACE = re.compile(_SPACE)
# a prefix of a number; it is a number if it ends with a digit
_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?(?:(?<=[0-9])[eE][+-]?[0-9]*+)?)?")
_MORE_DIGITS = re.compile(r"(?<=[0-9])[0-9]+")
_LITERALS = {"t": "true", "f": "false", "n": "null"}

# fast path: complete members and items, including their commas, in a long piece of text
_SCALAR = rf'(?:"{_PLAIN}*+"|-?(?:0|[1-9][0-9]{{0,15}})(?:\.[0-9]{{1,16}})?|true|false|null)'
_MEMBER = rf'{_SPACE}"({_PLAIN}*+)"{_SPACE}:{_SPACE}{_SCALAR}{_SPACE},'
_MEMBERS = re.compile(rf"(?:{_MEMBER})++")
_NAMES = re.compile(_MEMBER)
_ENTRY = re.compile(rf'{_SPACE}"({_PLAIN}*+)"{_SPACE}:{_SPACE}({_SCALAR}(?={_SPACE}[,}}]))?')
_ITEMS = re.compile(rf"(?:{_SPACE}{_SCALAR}{_SPACE},)++")
_FAST_PATH_CHARS = 64
"""the fast path pays off for pieces of at least this length"""


class JsonPrefix:
    """A prefix of one strict JSON text."""

    __slots__ = (
        "_chars_before",
        "_containers",
        "_escape",
        "_literal_rest",
        "_name_parts",
        "_number_head",
        "_number_parts",
        "_state",
    )

    def __init__(self) -> None:
        self._state: _State = JsonPrefix._value
        self._containers: list[set[str] | None] = []
        """the enclosing containers: for an object the names so far, for an array None"""
        self._escape = ""
        """an incomplete escape sequence"""
        self._name_parts: list[str] | None = None
        """the pieces of the member name that is being parsed; None in any other string"""
        self._number_parts: list[str] = []
        """the pieces of the number that is being parsed"""
        self._number_head = ""
        """the number so far with each run of digits reduced to one digit: enough to know what may follow"""
        self._literal_rest = ""
        """the rest of true, false or null that must follow"""
        self._chars_before = 0
        """characters of all earlier pieces"""

    @property
    def complete(self) -> bool:
        """Return whether the text is a complete value. Only whitespace may follow, or more digits if it is a number."""
        if self._containers:
            return False
        return self._state is JsonPrefix._after or (self._state is JsonPrefix._in_number and self._is_number())

    def feed(self, text: str) -> None:
        """Read on.

        Raises:
            NotJson: no strict JSON text can go on like this; of no use afterwards.
        """
        self._chars_before += len(text)
        if self._escape:
            text, self._escape = self._escape + text, ""
        at = 0
        while at < len(text):
            at = self._state(self, text, at)

    def _value(self, text: str, at: int) -> int:
        is_item = self._containers and self._containers[-1] is None
        if is_item and len(text) - at > _FAST_PATH_CHARS and (items := _ITEMS.match(text, at)):
            return items.end()
        at = _end(_WHITESPACE, text, at)
        if at == len(text):
            return at
        first = text[at]
        if first == '"':
            self._state = JsonPrefix._in_string
        elif first in "{[":
            if len(self._containers) == MAX_DEPTH:
                raise NotJson(f"nested deeper than {MAX_DEPTH} levels")
            self._containers.append(set() if first == "{" else None)
            self._state = JsonPrefix._first_name if first == "{" else JsonPrefix._first_item
        elif first in _LITERALS:
            self._literal_rest = _LITERALS[first][1:]
            self._state = JsonPrefix._in_literal
        elif first in "-0123456789":
            self._number_parts, self._number_head = [], ""
            self._state = JsonPrefix._in_number
            return at
        else:
            raise self._unexpected(text, at)
        return at + 1

    def _first_item(self, text: str, at: int) -> int:
        at = _end(_WHITESPACE, text, at)
        if text.startswith("]", at):
            return self._close(at)
        if at < len(text):
            self._state = JsonPrefix._value
        return at

    def _first_name(self, text: str, at: int) -> int:
        at = _end(_WHITESPACE, text, at)
        if text.startswith("}", at):
            return self._close(at)
        if at < len(text):
            self._state = JsonPrefix._name
        return at

    def _name(self, text: str, at: int) -> int:
        if len(text) - at > _FAST_PATH_CHARS:
            if members := _MEMBERS.match(text, at):
                self._add_names(_NAMES.findall(text, at, members.end()))
                return members.end()
            if entry := _ENTRY.match(text, at):
                self._add_names([entry[1]])
                self._state = JsonPrefix._after if entry[2] else JsonPrefix._value
                return entry.end()
        at = _end(_WHITESPACE, text, at)
        if at == len(text):
            return at
        if text[at] != '"':
            raise self._unexpected(text, at)
        self._name_parts = []
        self._state = JsonPrefix._in_string
        return at + 1

    def _colon(self, text: str, at: int) -> int:
        at = _end(_WHITESPACE, text, at)
        if at == len(text):
            return at
        if text[at] != ":":
            raise self._unexpected(text, at)
        self._state = JsonPrefix._value
        return at + 1

    def _after(self, text: str, at: int) -> int:
        at = _end(_WHITESPACE, text, at)
        if at == len(text):
            return at
        is_array = self._containers and self._containers[-1] is None
        if self._containers and text[at] == ",":
            self._state = JsonPrefix._value if is_array else JsonPrefix._name
            return at + 1
        if self._containers and text[at] == ("]" if is_array else "}"):
            return self._close(at)
        raise self._unexpected(text, at)

    def _close(self, at: int) -> int:
        self._containers.pop()
        self._state = JsonPrefix._after
        return at + 1

    def _in_string(self, text: str, at: int) -> int:
        end = _end(_STRING_CHARS, text, at)
        if self._name_parts is not None:
            self._name_parts.append(text[at:end])
        if end == len(text):
            return end
        if text[end] == '"':
            self._state = JsonPrefix._after
            if self._name_parts is not None:
                raw = "".join(self._name_parts)
                self._add_names([json.loads(f'"{raw}"') if "\\" in raw else raw])
                self._name_parts = None
                self._state = JsonPrefix._colon
            return end + 1
        if text[end] == "\\" and _ESCAPE_PREFIX.fullmatch(text, end):
            self._escape = text[end:]
            return len(text)
        raise self._unexpected(text, end)

    def _in_literal(self, text: str, at: int) -> int:
        received = text[at : at + len(self._literal_rest)]
        if not self._literal_rest.startswith(received):
            raise self._unexpected(
                text, at + [a == b for a, b in zip(received, self._literal_rest, strict=False)].index(False)
            )
        self._literal_rest = self._literal_rest.removeprefix(received)
        if not self._literal_rest:
            self._state = JsonPrefix._after
        return at + len(received)

    def _in_number(self, text: str, at: int) -> int:
        end = (
            _end(_NUMBER, self._number_head + text, at) - len(self._number_head)
            if self._number_head
            else _end(_NUMBER, text, at)
        )
        self._number_parts.append(text[at:end])
        if end == len(text):
            self._number_head = _MORE_DIGITS.sub("", self._number_head + text[at:])
            return end
        if not self._is_number():
            raise self._unexpected(text, end)
        self._state = JsonPrefix._after
        return end

    def _is_number(self) -> bool:
        number = "".join(self._number_parts)
        return number[-1:].isdecimal() and not math.isinf(float(number))

    def _add_names(self, names: list[str]) -> None:
        """Add names to the innermost object; reject a duplicate."""
        known = self._containers[-1]
        for name in names:
            if known is None or name in known:
                raise NotJson(f"an object names a key twice: {json.dumps(name[:64])}")
            known.add(name)

    def _unexpected(self, text: str, at: int) -> NotJson:
        return NotJson(f"unexpected {json.dumps(text[at])} at character {self._chars_before - len(text) + at + 1}")


_State = Callable[[JsonPrefix, str, int], int]


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
