"""Watches a text that streams where calls are optional: while it may be calls, it must not be sent. Pure."""

from __future__ import annotations

import re

from router.structured.answer.reasoning import THINK_CLOSE, THINK_OPEN, drop_reasoning
from router.structured.answer.text_calls.json_calls import Tools
from router.structured.answer.text_calls.parse import may_become_calls

MAX_HEAD_CHARS = 256
"""after the reasoning; a text that may still be calls after so many characters counts as calls"""
_THINK_TAG = re.compile(f"{THINK_OPEN}|{THINK_CLOSE}")


class FreeText:
    """The content of one choice.

    A text that begins inside its reasoning is sent until the reasoning ends. Then it is as at its beginning.

    Attributes:
        may_be_calls: the text, or what follows its reasoning, may be calls.
        reasoning_chars: the length of a reasoning that the prompt opened, with its closing tag; 0 if there is none.
    """

    __slots__ = ("_chars", "_head", "_may_end_reasoning", "_tail", "_tools", "may_be_calls", "reasoning_chars")

    def __init__(self, tools: Tools) -> None:
        self.may_be_calls = True
        self.reasoning_chars = 0
        self._tools = tools
        self._chars = 0
        self._head = ""
        """the beginning of the text, as much as decides what it is"""
        self._tail = ""
        """the end of the text so far; a tag may begin in it"""
        self._may_end_reasoning = True

    def add(self, piece: str) -> None:
        """Read on."""
        self._chars += len(piece)
        if self.may_be_calls:
            piece = self._head + piece
            self._read_head(piece)
        if not self.may_be_calls and self._may_end_reasoning:
            self._look_for_end_of_reasoning(piece)

    def _read_head(self, text: str) -> None:
        if len(self._head) == MAX_HEAD_CHARS:
            return
        if text.lstrip("\ufeff \t\r\n").startswith(THINK_OPEN):
            self._may_end_reasoning = False
        self._head = drop_reasoning(text)[:MAX_HEAD_CHARS]
        self.may_be_calls = may_become_calls(self._tools, self._head)

    def _look_for_end_of_reasoning(self, piece: str) -> None:
        text = self._tail + piece
        tag = _THINK_TAG.search(text)
        if tag is None:
            self._tail = text[1 - len(THINK_CLOSE) :]
            return
        self._may_end_reasoning = False
        if tag[0] == THINK_CLOSE:
            after = text[tag.end() :]
            self.reasoning_chars = self._chars - len(after)
            self._head, self.may_be_calls = "", True
            self._read_head(after)
