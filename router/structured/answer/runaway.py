"""Text without an end: a model under a grammar may go on with blanks, or say the same thing again, until its limit."""

from __future__ import annotations

import re

MOST_BLANKS = 256
"""characters of whitespace one after the other; deeper indentation is not seen in answers"""
LONGEST_UNIT = 64
REPEATED_CHARS = 2_048
"""So long may one text of up to LONGEST_UNIT characters be repeated: 1.5 KB of zeros in Base64."""
REPEATED_FIGURES = 16 * 1024
"""The same without a letter in it: arrays and tables of one number, 5,000 times `0, `."""
LOOK_EVERY = 256
"""characters between two looks: a repetition is seen so much later, at most"""

_BLANKS = re.compile(r"\s++")
_LETTER = re.compile(r"[^\W\d_]")


class Runaway:
    """Reads one text as it comes, in pieces cut anywhere."""

    __slots__ = ("_blanks", "_repeated", "_tail", "_unseen")

    def __init__(self) -> None:
        self._blanks = 0
        self._tail = ""
        self._unseen = 0
        self._repeated = 0

    def feed(self, text: str) -> str:
        """Return why the text will not end, or "" while it may."""
        if not text:
            return ""
        if self._has_endless_blanks(text):
            return "endless whitespace"
        self._tail += text
        self._unseen += len(text)
        if self._unseen < LOOK_EVERY:
            return ""
        is_endless = False
        for end in range(len(self._tail) - self._unseen + LOOK_EVERY, len(self._tail) + 1, LOOK_EVERY):
            self._unseen -= LOOK_EVERY
            is_repeated = end >= REPEATED_CHARS and _is_repetition(self._tail[end - REPEATED_CHARS : end])
            self._repeated = self._repeated + LOOK_EVERY if is_repeated else 0
            has_letters = _LETTER.search(self._tail, end - LONGEST_UNIT, end)
            is_endless = is_endless or (is_repeated and bool(has_letters)) or self._repeated > REPEATED_FIGURES
        self._tail = self._tail[-REPEATED_CHARS - self._unseen :]
        return "endless repetition" if is_endless else ""

    def _has_endless_blanks(self, text: str) -> bool:
        if text.isspace():
            self._blanks += len(text)
            return self._blanks > MOST_BLANKS
        before = self._blanks + len(text) - len(text.lstrip())
        self._blanks = len(text) - len(text.rstrip())
        if max(before, self._blanks) > MOST_BLANKS:
            return True
        return len(text) > MOST_BLANKS and any(len(run) > MOST_BLANKS for run in _BLANKS.findall(text))


def _is_repetition(text: str) -> bool:
    # the last unit stands just before, where it is repeated; then the distance is its length
    last = text[-LONGEST_UNIT:]
    before = text.rfind(last, -2 * LONGEST_UNIT, -1)
    unit = len(text) - LONGEST_UNIT - before
    return before >= 0 and unit <= LONGEST_UNIT and text[unit:] == text[:-unit]
