"""From tokens to text: whole characters only, and nothing of a stop string. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
MAX_HELD_TOKENS = 8
"""a character has at most four bytes; after so many tokens the bytes are no text at all"""


class Detokenizer:
    """Decodes a growing list of tokens piece by piece.

    How a token is written may depend on the ones before it. So each piece is the difference of two decodings that
    begin with the tokens of the piece before.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._context: list[int] = []
        self._held: list[int] = []

    def push(self, token: int) -> str:
        """Add a token; return the text that is now known, which is empty within a character."""
        self._held.append(token)
        text = self._new_text()
        if text.endswith(INCOMPLETE) and len(self._held) < MAX_HELD_TOKENS:
            return ""
        if text:
            self._context, self._held = self._held, []
        return text

    def flush(self) -> str:
        """Return the text of the tokens that are still held."""
        text = self._new_text() if self._held else ""
        self._held = []
        return text

    def _new_text(self) -> str:
        before = self._decode(self._context) if self._context else ""
        return self._decode(self._context + self._held)[len(before) :]


class StopStrings:
    """Ends a text before the first stop string. The beginning of one is held back until it is known to be none."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Add text; return what may be sent."""
        self._held += text
        matches = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if matches:
            self.found = True
            text, self._held = self._held[: min(matches)], ""
            return text
        keep = self._possible_beginning()
        text, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return text

    def flush(self) -> str:
        """Return the text that is still held."""
        text, self._held = self._held, ""
        return text

    def _possible_beginning(self) -> int:
        """Return the length of the longest end of the text with which a stop string begins."""
        longest = max(map(len, self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
