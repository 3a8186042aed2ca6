"""Detects endless output: a model under a grammar may generate whitespace or repeat itself until its token limit."""

from __future__ import annotations

import re

MAX_WHITESPACE_CHARS = 256
"""of consecutive whitespace; answers never have deeper indentation"""
MAX_UNIT_CHARS = 64
"""of a text that is repeated"""
MAX_REPEATED_CHARS = 2_048
"""of the repetitions of one unit together: 1.5 KB of zeros in Base64 are allowed"""
MAX_REPEATED_NUMBER_CHARS = 16 * 1024
"""the same for a list of numbers: an array of 5,000 times `0, ` is allowed"""
CHECK_EVERY_CHARS = 256
"""characters between two checks, so the maximum delay with which a repetition is detected"""

_WHITESPACE = re.compile(r"\s++")
_NUMBERS = re.compile(r"[\d\s.,+\-eE\[\]]*")


class RunawayDetector:
    """Watches one text, which may be split anywhere."""

    __slots__ = ("_repeated_chars", "_tail", "_unchecked", "_whitespace")

    def __init__(self) -> None:
        self._whitespace = 0
        self._tail = ""
        self._unchecked = 0
        self._repeated_chars = 0

    def feed(self, text: str) -> str:
        """Return why the text is endless, or "" while it may still end."""
        if not text:
            return ""
        if self._has_endless_whitespace(text):
            return "endless whitespace"
        self._tail += text
        self._unchecked += len(text)
        if self._unchecked < CHECK_EVERY_CHARS:
            return ""
        is_endless = False
        for end in range(len(self._tail) - self._unchecked + CHECK_EVERY_CHARS, len(self._tail) + 1, CHECK_EVERY_CHARS):
            self._unchecked -= CHECK_EVERY_CHARS
            is_repeated_chars = end >= MAX_REPEATED_CHARS and _is_repetition(self._tail[end - MAX_REPEATED_CHARS : end])
            self._repeated_chars = self._repeated_chars + CHECK_EVERY_CHARS if is_repeated_chars else 0
            is_endless = (
                is_endless
                or (is_repeated_chars and not ends_in_numbers(self._tail[end - CHECK_EVERY_CHARS : end]))
                or self._repeated_chars > MAX_REPEATED_NUMBER_CHARS
            )
        self._tail = self._tail[-MAX_REPEATED_CHARS - self._unchecked :]
        return "endless repetition" if is_endless else ""

    def _has_endless_whitespace(self, text: str) -> bool:
        if text.isspace():
            self._whitespace += len(text)
            return self._whitespace > MAX_WHITESPACE_CHARS
        before = self._whitespace + len(text) - len(text.lstrip())
        self._whitespace = len(text) - len(text.rstrip())
        if max(before, self._whitespace) > MAX_WHITESPACE_CHARS:
            return True
        return len(text) > MAX_WHITESPACE_CHARS and any(
            len(run) > MAX_WHITESPACE_CHARS for run in _WHITESPACE.findall(text)
        )


def ends_in_numbers(text: str) -> bool:
    """Return whether a text that repeats itself repeats the numbers of a list, which may have many that are equal."""
    end = text[-CHECK_EVERY_CHARS:]  # a model may write many blanks around each number
    return "," in end and _NUMBERS.fullmatch(end) is not None


def until_repetition(text: str) -> str:
    """Return a text without its repetitions: up to the end of the first piece of those that it repeats at its end."""
    last = text[-MAX_UNIT_CHARS:]
    before = text.rfind(last, -2 * MAX_UNIT_CHARS, -1)
    if before < 0:
        return text
    end = len(text)
    unit = end - len(last) - before
    while end > unit and text[end - 1] == text[end - 1 - unit]:
        end -= 1
    return text[:end]


def _is_repetition(text: str) -> bool:
    # in a repetition, the last characters occur once more just before; the distance is the length of the unit
    last = text[-MAX_UNIT_CHARS:]
    before = text.rfind(last, -2 * MAX_UNIT_CHARS, -1)
    unit = len(text) - MAX_UNIT_CHARS - before
    return before >= 0 and unit <= MAX_UNIT_CHARS and text[unit:] == text[:-unit]
