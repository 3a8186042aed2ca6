"""The features of a text for learned policies: hashed words, hashed pieces of words, and a few cheap measures.

Words identify topics. Pieces of four characters match variant spellings (arXiv 1607.01759, section 2.1, uses both).
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
PIECE_CHARS = 4
MAX_CHARS = 8_192
"""of a longer text, only the beginning (instructions) and the end (question) are read"""
MAX_WORD_CHARS = 40
"""the rest of a longer word (base64, a hash, a language without spaces) is ignored"""

WORD = re.compile(r"\w+")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
OPTION = re.compile(r"^\(?[A-Ja-j][.):] .*", re.MULTILINE)
SENTENCE = re.compile(r"[.!?](?:\s|$)")
SYMBOLS = "$%+*/=^()<>{}[]"


class TextFeatures(NamedTuple):
    """The features of one text."""

    words: Mapping[int, float]
    pieces: Mapping[int, float]
    """bucket -> 1 + ln(count), because repetitions add little information"""
    measures: tuple[float, ...]
    """in the order of `MEASURES`"""


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


def extract_features(text: str) -> TextFeatures:
    """Return the features of a text, in time linear in its length and bounded above `MAX_CHARS`."""
    length = len(text)
    if length > MAX_CHARS:
        text = f"{text[: MAX_CHARS // 2]} {text[-MAX_CHARS // 2 :]}"
    found = Counter(WORD.findall(text.lower()))
    words: dict[int, int] = {}
    pieces: dict[int, int] = {}
    for word, count in found.items():
        own, parts = _buckets(word[:MAX_WORD_CHARS])
        words[own] = words.get(own, 0) + count
        for part in parts:
            pieces[part] = pieces.get(part, 0) + count
    return TextFeatures(_damp(words), _damp(pieces), _measures(text, length, found))


def _damp(counts: Mapping[int, int]) -> dict[int, float]:
    return {bucket: 1.0 if count == 1 else 1 + log(count) for bucket, count in counts.items()}


@lru_cache(maxsize=2**16)
def _buckets(word: str) -> tuple[int, tuple[int, ...]]:
    padded = f" {word} "
    parts = (padded[start : start + PIECE_CHARS] for start in range(max(1, len(padded) - PIECE_CHARS + 1)))
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
