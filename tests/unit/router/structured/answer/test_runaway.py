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
    MAX_REPEATED_NUMBER_CHARS,
    MAX_UNIT_CHARS,
    MAX_WHITESPACE_CHARS,
    RunawayDetector,
    until_repetition,
)

BEFORE_LONG = "".join(map(str, range(500)))
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
        ("[" + "0, " * MAX_REPEATED_NUMBER_CHARS, "endless repetition"),
        ('["' + "1.0.0/" * LONG, "endless repetition"),
        ("0" * LONG, "endless repetition"),
        ("[" + "-1.5e3, " * (MAX_REPEATED_NUMBER_CHARS // 9), ""),
        ("[" + ("0" + " " * 30 + "," + "\n" * 30) * 60, ""),
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
    text = before + unit * ((MAX_REPEATED_NUMBER_CHARS + LONG) // len(unit) + 1)
    edges = [0, *sorted({edge for edge in cuts if edge < len(text)}), len(text)]
    assert verdict(*(text[start:end] for start, end in pairwise(edges)))


@given(st.lists(st.text(max_size=50)))
def test_short_texts_and_empty_pieces_are_fine(pieces):
    runaway = RunawayDetector()
    assert not any(runaway.feed(piece) for piece in pieces if sum(map(len, pieces)) <= MAX_WHITESPACE_CHARS)


def test_blanks_count_on_over_empty_pieces():
    assert verdict(*[" ", ""] * (MAX_WHITESPACE_CHARS + 1))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('["' + "1.0.0/" * 90, '["1.0.0/'),
        ('["' + "1.0.0/" * 90 + "1.0", '["1.0.0/'),
        ("a" * 300, "a"),
        ("", ""),
        ("abc", "abc"),
        ("a text that ends", "a text that ends"),
        (BEFORE_LONG + "x" * 200, BEFORE_LONG + "x"),
    ],
)
def test_a_quote_of_it_does_not_repeat_it(text, left):
    assert until_repetition(text) == left


@pytest.mark.parametrize("unit", ["0, ", "ha", "\n", " x", "1.0.0/", "".join(map(chr, range(33, 127)))])
def test_a_text_of_megabytes_takes_linear_time(unit):
    text = unit * (4_000_000 // len(unit))  # else the suite's time limit ends it
    verdict_of_all(text)
    verdict_of_all(*cut(text[:500_000], 3))


def verdict_of_all(*pieces) -> None:
    """Feed all of a text, whatever was said of its beginning."""
    runaway = RunawayDetector()
    for piece in pieces:
        runaway.feed(piece)
