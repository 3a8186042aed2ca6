"""Whether an answer has anything for its reader: a text that can be seen, a call, a refusal. Pure.

An answer of blanks, or of thoughts alone, is none: the model ended before it began to answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from router.messages.openai_form import REASONING

_SAYS_NOTHING = frozenset({"role", "content", REASONING, "reasoning_details", "annotations", "extra_content"})
"""fields of a message that are no answer, beside the content, which is one if it can be seen"""


def has_visible(text: object) -> bool:
    """Return whether a text has a character that can be seen."""
    return isinstance(text, str) and (text[:1].isalnum() or any(map(_is_visible, text)))


def _is_visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()


class Visible:
    """Looks for something visible in the choices of an answer, or in one event after the other."""

    __slots__ = ("found", "has_thoughts", "is_cut")

    def __init__(self) -> None:
        self.found = False
        """a choice has something for its reader"""
        self.has_thoughts = False
        """a choice without a text has thoughts"""
        self.is_cut = False
        """a token limit ended a choice without a text"""

    def look(self, choices: Iterable[Mapping[str, Any]]) -> Visible:
        """Look at choices (`message`), or at what an event adds to them (`delta`); return this object."""
        for choice in choices:
            part = choice.get("message") or choice.get("delta")
            part = part if isinstance(part, dict) else {}
            if has_visible(part.get("content")):
                self.found = True
                continue
            reason = choice.get("finish_reason")
            self.is_cut = self.is_cut or reason == "length"
            self.has_thoughts = self.has_thoughts or bool(part.get(REASONING))
            if reason == "content_filter" or any(value for name, value in part.items() if name not in _SAYS_NOTHING):
                self.found = True
        return self
