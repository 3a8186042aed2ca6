"""Reads a text from left to right, and tells a text that is cut from one that is something else. Pure.

Every method takes time linear in the characters that it steps over, or ends the reading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, TypeVar

from router.messages.strict_json import loads
from router.structured.answer.repair import repair_json

MAX_CALLS = 128
"""in one text; reading and checking more would block the event loop"""
T = TypeVar("T")
_SPACE = re.compile(r"\s*+")
# an object or an array of objects begins here, as far as the text goes
_OBJECTS = re.compile(r'\Z|\[\s*+(?:\]|\Z)|(?:\[\s*+)?\{\s*+(?:["}]|\Z)')
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\]]', re.DOTALL)
_DECODER = json.JSONDecoder()


class NotCalls(Exception):
    """The text is not in this format."""


class Unfinished(NotCalls):
    """The text ends before its format does, so it may still become calls."""


class Scanner:
    """A position in a text. Every method that needs more text than there is raises Unfinished."""

    __slots__ = ("_calls", "at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._calls = 0

    @property
    def at_end(self) -> bool:
        """Return whether nothing follows."""
        return self.at == len(self.text)

    def count_call(self) -> None:
        """Count a call that was read.

        Raises:
            NotCalls: there are more than MAX_CALLS.
        """
        self._calls += 1
        if self._calls > MAX_CALLS:
            raise NotCalls

    def skip_space(self) -> None:
        """Step over whitespace."""
        if match := _SPACE.match(self.text, self.at):
            self.at = match.end()

    def peek(self) -> str:
        """Return the next character."""
        if self.at_end:
            raise Unfinished
        return self.text[self.at]

    def next_word(self, *words: str) -> str | None:
        """Return which of the words follows, or None."""
        for word in words:
            if self.text.startswith(word, self.at):
                return word
        if len(self.text) - self.at < max(map(len, words)):
            rest = self.text[self.at :]
            if any(word.startswith(rest) for word in words):
                raise Unfinished
        return None

    def accept(self, *words: str) -> str | None:
        """Step over one of the words and return it, or return None if none of them follows."""
        word = self.next_word(*words)
        self.at += len(word or "")
        return word

    def expect(self, *words: str) -> str:
        """Step over one of the words and return it.

        Raises:
            NotCalls: none of them follows.
        """
        if word := self.accept(*words):
            return word
        raise NotCalls

    def until(self, word: str) -> str:
        """Step over everything up to a word and over the word; return what was before it."""
        end = self.text.find(word, self.at)
        if end < 0:
            raise Unfinished
        start, self.at = self.at, end + len(word)
        return self.text[start:end]

    def token(self, pattern: re.Pattern[str]) -> str:
        """Step over what a pattern matches and return it. Something must follow, or the token might go on.

        Raises:
            NotCalls: the pattern does not match, or matches nothing.
        """
        match = pattern.match(self.text, self.at)
        if self.at_end or (match and match.end() == len(self.text)):
            raise Unfinished
        if not match or not match[0]:
            raise NotCalls
        self.at = match.end()
        return match[0]

    def sequence(self, close: str, item: Callable[[], T]) -> list[T]:
        """Read items that are separated by commas, and the closing bracket. The last item may have a comma, too."""
        items: list[T] = []
        while True:
            self.skip_space()
            if self.accept(close):
                return items
            items.append(item())
            self.skip_space()
            if not self.accept(","):
                self.expect(close)
                return items

    def json(self) -> Any:
        """Read a JSON object, or an array of objects. A comma before a closing bracket is allowed.

        Raises:
            NotCalls: something else follows, or it is not strict JSON.
        """
        start = self.at
        if not _OBJECTS.match(self.text, start):
            raise NotCalls
        try:
            try:
                _, self.at = _DECODER.raw_decode(self.text, start)
                return loads(self.text[start : self.at], unique_keys=True)
            except (json.JSONDecodeError, RecursionError):
                self.at = self._closing_bracket()
                return repair_json(self.text[start : self.at], prose=False)[1]
        except ValueError as error:  # NotJson, or an integer with thousands of digits
            raise NotCalls from error

    def _closing_bracket(self) -> int:
        """Return the end of the brackets that open here."""
        depth = 0
        for match in _STRING_OR_BRACKET.finditer(self.text, self.at):
            if match[0] in "{[":
                depth += 1
            elif match[0] in "}]":
                depth -= 1
            if not depth:
                return match.end()
        raise Unfinished
