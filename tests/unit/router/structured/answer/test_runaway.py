"""Texts that will not end, and those that only look like it."""

import base64
import json
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.runaway import (
    CHECK_EVERY_CHARS,
    MAX_REPEATED_CHARS,
    MAX_REPEATED_DIGIT_CHARS,
    MAX_UNIT_CHARS,
    MAX_WHITESPACE_CHARS,
    RunawayDetector,
)

LONG = MAX_REPEATED_CHARS + 2 * CHECK_EVERY_CHARS


def verdict(*pieces) -> str:
    runaway = RunawayDetector()
    return next((reason for piece in pieces if (reason := runaway.feed(piece))), "")


def cut(text, size):
    return [text[i : i + size] for i in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 5, 300, 10_000])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":' + " " * (MAX_WHITESPACE_CHARS + 1), "endless whitespace"),
        ('{"a":' + "\n\t" * MAX_WHITESPACE_CHARS, "endless whitespace"),
        ('{"a":' + " " * (MAX_WHITESPACE_CHARS + 1) + "1}", "endless whitespace"),
        (("x" + " " * MAX_WHITESPACE_CHARS) * 3, ""),
        ('{"a": "' + "\\n" * LONG, "endless repetition"),
        ('{"a": "' + "ha" * LONG, "endless repetition"),
        ("[" + "0, " * MAX_REPEATED_DIGIT_CHARS, "endless repetition"),
        (json.dumps([[0] * 28] * 28), ""),
        (json.dumps([0.0] * 3_000), ""),
        ("x" * 30_000 + "0, " * 800, "endless repetition"),
        ("".join(map(str, range(8_000))) + "0, " * 900, ""),
        ("[" + '{"name": "John", "age": 42}, ' * LONG, "endless repetition"),
        ("x" * MAX_UNIT_CHARS * LONG, "endless repetition"),
        ("".join(map(chr, range(33, 33 + MAX_UNIT_CHARS))) * LONG, "endless repetition"),
        ("".join(map(chr, range(33, 34 + MAX_UNIT_CHARS))) * LONG, ""),
        ("[" + "0, " * 650 + "0]", ""),
        (base64.b64encode(bytes(1_500)).decode(), ""),
        (json.dumps([0] * 28 * 20 + list(range(2_000))), ""),
        (json.dumps(list(range(10_000)), indent=8), ""),
        (json.dumps([{"id": i, "name": "John", "tags": []} for i in range(1_000)]), ""),
        ("| --- " * 300 + "|\n", ""),
        ("".join(random.Random(1).choices("ab", k=20_000)), ""),
    ],
)
def test_what_will_not_end(text, size, reason):
    assert verdict(*cut(text, size)) == reason


@given(st.text(max_size=20), st.text(min_size=1, max_size=MAX_UNIT_CHARS), st.lists(st.integers(1, LONG)))
def test_a_repetition_is_seen_however_it_is_cut(before, unit, cuts):
    text = before + unit * ((MAX_REPEATED_DIGIT_CHARS + LONG) // len(unit) + 1)
    edges = [0, *sorted({edge for edge in cuts if edge < len(text)}), len(text)]
    assert verdict(*(text[start:end] for start, end in pairwise(edges)))


@given(st.lists(st.text(max_size=50)))
def test_short_texts_and_empty_pieces_are_fine(pieces):
    runaway = RunawayDetector()
    assert not any(runaway.feed(piece) for piece in pieces if sum(map(len, pieces)) <= MAX_WHITESPACE_CHARS)


def test_blanks_count_on_over_empty_pieces():
    assert verdict(*[" ", ""] * (MAX_WHITESPACE_CHARS + 1))
