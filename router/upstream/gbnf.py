"""GBNF, the grammar format of llama.cpp: choices and regular expressions written in it. Pure.

A regular expression is translated only if every part of it means the same to every library. Others (look-around, back
references, `\\b`, lazy quantifiers, flags) have no counterpart in GBNF, or the check could read them differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_DEPTH = 50
MAX_RULES = 1000
"""after the repetitions are written out; llama.cpp refuses 2000, and llama-cpp-python's server ends"""
_CLASSES = {"d": "0-9", "s": " \\t\\n\\r", "w": "a-zA-Z0-9_"}
"""of ASCII: every library's classes contain these"""
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_PUNCTUATION = frozenset("""^$.|?*+()[]{}\\/-"'#&~@:;,=<>!%` """)
"""a backslash in front of one of these means the character itself"""
_QUANTIFIER = re.compile(r"[*+?]|\{(\d+)(?:,(\d*))?\}", re.ASCII)
_QUANTIFIERS = ("*", "+", "?", "{")


class _Untranslatable(Exception):
    pass


def choice_grammar(choices: Iterable[str]) -> str:
    """Return the grammar of the texts."""
    return f"root ::= {' | '.join(map(_literal, choices))}"


def regex_grammar(pattern: str) -> str | None:
    """Return the grammar of the texts that a regular expression matches as a whole; None: it cannot be translated."""
    is_anchored = pattern.startswith("^")
    reader = _Reader(pattern[1:] if is_anchored else pattern)
    try:
        body = reader.read()
    except _Untranslatable:
        return None
    if is_anchored and reader.has_branches:  # `^a|b` anchors the first branch only
        return None
    return f"root ::= {body}"


class _Reader:
    """Reads a regular expression from left to right, and writes GBNF."""

    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._rules = 0
        self.has_branches = False
        """there is a `|` outside of all groups"""

    def read(self) -> str:
        """Return the expression of the whole pattern."""
        body = self._alternatives(0)
        self._take("$")
        self._require(self._at == len(self._pattern))
        return body

    def _alternatives(self, depth: int) -> str:
        self._require(depth <= MAX_DEPTH)
        branches = [self._sequence(depth)]
        while self._take("|"):
            self.has_branches = self.has_branches or not depth
            branches.append(self._sequence(depth))
        return " | ".join(branches)

    def _sequence(self, depth: int) -> str:
        parts = []
        while self._at < len(self._pattern) and not self._is_next("|", ")", "$"):
            before = self._rules
            atom, (quantifier, times) = self._atom(depth), self._quantifier()
            self._rules = before + (self._rules + 1 - before) * times
            self._require(self._rules <= MAX_RULES)
            parts.append(atom + quantifier)
        return " ".join(parts) or '""'

    def _atom(self, depth: int) -> str:
        char = self._read()
        match char:
            case "(":
                self._require(self._take("?:") or not self._is_next("?"))
                inner = self._alternatives(depth + 1)
                self._require(self._take(")"))
                return f"({inner})"
            case "[":
                return self._char_class()
            case ".":
                return "[^\\n]"
            case "\\":
                member = self._escaped()
                return f"[{member}]" if len(member) > 1 else _literal(member)
        self._require(char not in "*+?{}]^")
        return _literal(char)

    def _char_class(self) -> str:
        is_negated, members = self._take("^"), ""
        if self._take("-"):
            members = _in_class("-")
        while not self._take("]"):
            first = self._member()
            if len(first) > 1:
                self._require(not is_negated)  # ours are of ASCII, so a negated one would allow other letters
                members += first
            elif self._is_next("-") and not self._is_next("-]"):
                self._read()
                last = self._member()
                self._require(len(last) == 1 and first <= last)
                members += f"{_in_class(first)}-{_in_class(last)}"
            else:
                members += _in_class(first)
        self._require(members != "")
        return f"[{'^' if is_negated else ''}{members}]"

    def _member(self) -> str:
        """Return a character of a class, or the content of a class such as `0-9`."""
        char = self._read()
        self._require(char not in "[&~" and (char != "-" or self._is_next("]")))  # libraries differ in these
        return self._escaped() if char == "\\" else char

    def _escaped(self) -> str:
        char = self._read()
        self._require(char in _CLASSES or char in _CONTROLS or char in _PUNCTUATION)
        return _CLASSES.get(char) or _CONTROLS.get(char) or char

    def _quantifier(self) -> tuple[str, int]:
        """Return the quantifier, and how often what is before it is written out."""
        if not (found := _QUANTIFIER.match(self._pattern, self._at)):
            return "", 1
        self._at = found.end()
        least, most = int(found[1] or 1), int(found[2] or found[1] or 1)
        self._require(least <= most)
        self._require(not self._is_next(*_QUANTIFIERS))  # lazy, possessive, or repeated
        return found[0], max(most, 1)

    def _is_next(self, *texts: str) -> bool:
        return self._pattern.startswith(texts, self._at)

    def _take(self, text: str) -> bool:
        found = self._is_next(text)
        self._at += len(text) if found else 0
        return found

    def _read(self) -> str:
        self._require(self._at < len(self._pattern))
        self._at += 1
        return self._pattern[self._at - 1]

    def _require(self, is_known: bool) -> None:
        if not is_known:
            raise _Untranslatable


def _literal(text: str) -> str:
    return f'"{"".join(map(_escape, text))}"'


def _in_class(char: str) -> str:
    return f"\\x{ord(char):02X}" if char in "^-[]" else _escape(char)


def _escape(char: str) -> str:
    return _ESCAPES.get(char) or (char if char.isprintable() or not char.isascii() else f"\\x{ord(char):02X}")
