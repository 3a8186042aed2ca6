"""Strict JSON as it comes, in pieces cut anywhere: refused at the first character that it cannot have there.

What is whole is what `strictjson.loads` accepts with `unique_keys`; every beginning of that is accepted on the way.
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
_HALF_ESCAPE = re.compile(
    r"\\(?:u(?:"
    rf"[0-9a-cefA-CEF]{_HEX}{{0,2}}|[dD](?:[0-7]{_HEX}?"
    rf"|[89abAB](?:{_HEX}(?:{_HEX}(?:\\(?:u(?:[dD](?:[c-fC-F]{_HEX}?)?)?)?)?)?)?)?)?)?"
)
_INSIDE = re.compile(rf"(?:{_PLAIN}++|{_ESCAPE})*+")
_BLANKS = r"[ \t\n\r]*+"
_GAP = re.compile(_BLANKS)
# the beginning of a number: it may end where it ends with a digit
_NUMBER = re.compile(r"-?(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?(?:(?<=[0-9])[eE][+-]?[0-9]*+)?)?")
_MORE_DIGITS = re.compile(r"(?<=[0-9])[0-9]+")
_WORDS = {"t": "true", "f": "false", "n": "null"}

# whole members and items, to their commas: read at once where a long piece holds them
_SHORT = rf'(?:"{_PLAIN}*+"|-?(?:0|[1-9][0-9]{{0,15}})(?:\.[0-9]{{1,16}})?|true|false|null)'
_MEMBER = rf'{_BLANKS}"({_PLAIN}*+)"{_BLANKS}:{_BLANKS}{_SHORT}{_BLANKS},'
_MEMBERS = re.compile(rf"(?:{_MEMBER})++")
_NAMES = re.compile(_MEMBER)
_ENTRY = re.compile(rf'{_BLANKS}"({_PLAIN}*+)"{_BLANKS}:{_BLANKS}({_SHORT}(?={_BLANKS}[,}}]))?')
_ITEMS = re.compile(rf"(?:{_BLANKS}{_SHORT}{_BLANKS},)++")
_LONG = 64
"""characters of a piece from which that pays"""


class JsonPrefix:
    """The beginning of one strict JSON text."""

    __slots__ = ("_before", "_digits", "_half", "_names", "_open", "_place", "_state", "_word")

    def __init__(self) -> None:
        self._state: _State = JsonPrefix._value
        self._open: list[set[str] | None] = []
        """the containers around this place: an object's names so far, None for an array"""
        self._half = ""
        """an escape of which the end has not come"""
        self._names: list[str] | None = None
        """the pieces of a name that is being read; None in any other string"""
        self._digits: list[str] = []
        """the pieces of a number"""
        self._place = ""
        """the place within a number from piece to piece: of each run of digits, one says it"""
        self._word = ""
        """what must follow of true, false or null"""
        self._before = 0
        """characters of the pieces before"""

    @property
    def complete(self) -> bool:
        """Return whether a whole value has come. More digits may still follow a bare number, else only blanks."""
        if self._open:
            return False
        return self._state is JsonPrefix._after or (self._state is JsonPrefix._in_number and self._is_number())

    def feed(self, text: str) -> None:
        """Read on.

        Raises:
            NotJson: no strict JSON text can go on like this; of no use afterwards.
        """
        self._before += len(text)
        if self._half:
            text, self._half = self._half + text, ""
        at = 0
        while at < len(text):
            at = self._state(self, text, at)

    def _value(self, text: str, at: int) -> int:
        is_item = self._open and self._open[-1] is None
        if is_item and len(text) - at > _LONG and (items := _ITEMS.match(text, at)):
            return items.end()
        at = _end(_GAP, text, at)
        if at == len(text):
            return at
        first = text[at]
        if first == '"':
            self._state = JsonPrefix._in_string
        elif first in "{[":
            if len(self._open) == MAX_DEPTH:
                raise NotJson(f"nested deeper than {MAX_DEPTH} levels")
            self._open.append(set() if first == "{" else None)
            self._state = JsonPrefix._first_name if first == "{" else JsonPrefix._first_item
        elif first in _WORDS:
            self._word = _WORDS[first][1:]
            self._state = JsonPrefix._in_word
        elif first in "-0123456789":
            self._digits, self._place = [], ""
            self._state = JsonPrefix._in_number
            return at
        else:
            raise self._unexpected(text, at)
        return at + 1

    def _first_item(self, text: str, at: int) -> int:
        at = _end(_GAP, text, at)
        if text.startswith("]", at):
            return self._close(at)
        if at < len(text):
            self._state = JsonPrefix._value
        return at

    def _first_name(self, text: str, at: int) -> int:
        at = _end(_GAP, text, at)
        if text.startswith("}", at):
            return self._close(at)
        if at < len(text):
            self._state = JsonPrefix._name
        return at

    def _name(self, text: str, at: int) -> int:
        if len(text) - at > _LONG:
            if members := _MEMBERS.match(text, at):
                self._know(_NAMES.findall(text, at, members.end()))
                return members.end()
            if entry := _ENTRY.match(text, at):
                self._know([entry[1]])
                self._state = JsonPrefix._after if entry[2] else JsonPrefix._value
                return entry.end()
        at = _end(_GAP, text, at)
        if at == len(text):
            return at
        if text[at] != '"':
            raise self._unexpected(text, at)
        self._names = []
        self._state = JsonPrefix._in_string
        return at + 1

    def _colon(self, text: str, at: int) -> int:
        at = _end(_GAP, text, at)
        if at == len(text):
            return at
        if text[at] != ":":
            raise self._unexpected(text, at)
        self._state = JsonPrefix._value
        return at + 1

    def _after(self, text: str, at: int) -> int:
        at = _end(_GAP, text, at)
        if at == len(text):
            return at
        is_array = self._open and self._open[-1] is None
        if self._open and text[at] == ",":
            self._state = JsonPrefix._value if is_array else JsonPrefix._name
            return at + 1
        if self._open and text[at] == ("]" if is_array else "}"):
            return self._close(at)
        raise self._unexpected(text, at)

    def _close(self, at: int) -> int:
        self._open.pop()
        self._state = JsonPrefix._after
        return at + 1

    def _in_string(self, text: str, at: int) -> int:
        end = _end(_INSIDE, text, at)
        if self._names is not None:
            self._names.append(text[at:end])
        if end == len(text):
            return end
        if text[end] == '"':
            self._state = JsonPrefix._after
            if self._names is not None:
                raw = "".join(self._names)
                self._know([json.loads(f'"{raw}"') if "\\" in raw else raw])
                self._names = None
                self._state = JsonPrefix._colon
            return end + 1
        if text[end] == "\\" and _HALF_ESCAPE.fullmatch(text, end):
            self._half = text[end:]
            return len(text)
        raise self._unexpected(text, end)

    def _in_word(self, text: str, at: int) -> int:
        come = text[at : at + len(self._word)]
        if not self._word.startswith(come):
            raise self._unexpected(text, at + [a == b for a, b in zip(come, self._word, strict=False)].index(False))
        self._word = self._word.removeprefix(come)
        if not self._word:
            self._state = JsonPrefix._after
        return at + len(come)

    def _in_number(self, text: str, at: int) -> int:
        end = _end(_NUMBER, self._place + text, at) - len(self._place) if self._place else _end(_NUMBER, text, at)
        self._digits.append(text[at:end])
        if end == len(text):
            self._place = _MORE_DIGITS.sub("", self._place + text[at:])
            return end
        if not self._is_number():
            raise self._unexpected(text, end)
        self._state = JsonPrefix._after
        return end

    def _is_number(self) -> bool:
        number = "".join(self._digits)
        return number[-1:].isdecimal() and not math.isinf(float(number))

    def _know(self, names: list[str]) -> None:
        """Add names to those of the innermost object, each once."""
        known = self._open[-1]
        for name in names:
            if known is None or name in known:
                raise NotJson(f"an object names a key twice: {json.dumps(name[:64])}")
            known.add(name)

    def _unexpected(self, text: str, at: int) -> NotJson:
        return NotJson(f"unexpected {json.dumps(text[at])} at character {self._before - len(text) + at + 1}")


_State = Callable[[JsonPrefix, str, int], int]


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at
