"""What a learned policy sees of a text: hashed words and pieces of words, and a few cheap measures.

Words find topics; pieces of four characters find what is written differently (arXiv 1607.01759, section 2.1, has both).
Hashing needs no vocabulary (Weinberger et al., arXiv 0902.2206). CRC-32 is the same in every process, `hash` is not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from math import log, log1p
from string import ascii_uppercase
from typing import NamedTuple
from zlib import crc32

BUCKETS = 2**18
PIECE = 4
MOST_CHARS = 8_192
"""of longer texts, only the beginning and the end are read closely: an agent's instructions, and the question"""
LONGEST_WORD = 40
"""of a longer one (base64, a hash, a language without spaces) the rest is left out"""

WORD = re.compile(r"\w+")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
OPTION = re.compile(r"^\(?[A-Ja-j][.):] .*", re.MULTILINE)
SENTENCE = re.compile(r"[.!?](?:\s|$)")
SYMBOLS = "$%+*/=^()<>{}[]"


class Seen(NamedTuple):
    """What is seen of one text."""

    words: Mapping[int, float]
    pieces: Mapping[int, float]
    """bucket -> 1 + ln(how often): the tenth time says less than the first"""
    measures: tuple[float, ...]
    """see `MEASURES`"""


MEASURES = (
    "characters",
    "words",
    "capitals",
    "numbers",
    "symbols",
    "commas",
    "questions",
    "sentences",
    "lines",
    "options",
    "option characters",
    "letters of a word",
    "distinct words",
)


def see(text: str) -> Seen:
    """Return what is seen of a text; linear in its length, and bounded above `MOST_CHARS`."""
    length = len(text)
    if length > MOST_CHARS:
        text = f"{text[: MOST_CHARS // 2]} {text[-MOST_CHARS // 2 :]}"
    found = Counter(WORD.findall(text.lower()))
    words: dict[int, int] = {}
    pieces: dict[int, int] = {}
    for word, count in found.items():
        own, parts = _buckets(word[:LONGEST_WORD])
        words[own] = words.get(own, 0) + count
        for part in parts:
            pieces[part] = pieces.get(part, 0) + count
    return Seen(_damped(words), _damped(pieces), _measures(text, length, found))


def _damped(counts: Mapping[int, int]) -> dict[int, float]:
    return {bucket: 1.0 if count == 1 else 1 + log(count) for bucket, count in counts.items()}


@lru_cache(maxsize=2**16)
def _buckets(word: str) -> tuple[int, tuple[int, ...]]:
    padded = f" {word} "
    parts = (padded[start : start + PIECE] for start in range(max(1, len(padded) - PIECE + 1)))
    return _bucket(f"={word}"), tuple(_bucket(part) for part in parts)


def _bucket(text: str) -> int:
    return crc32(text.encode(errors="surrogatepass")) % BUCKETS


def _measures(text: str, length: int, words: Counter[str]) -> tuple[float, ...]:
    count = words.total()
    options = OPTION.findall(text)
    return (
        log1p(length),
        log1p(count),
        log1p(sum(map(text.count, ascii_uppercase))),
        log1p(len(NUMBER.findall(text))),
        log1p(sum(map(text.count, SYMBOLS))),
        log1p(text.count(",")),
        log1p(text.count("?")),
        log1p(len(SENTENCE.findall(text))),
        log1p(text.count("\n")),
        log1p(len(options)),
        log1p(sum(map(len, options))),
        len(text) / (1 + count),
        len(words) / (1 + count),
    )
