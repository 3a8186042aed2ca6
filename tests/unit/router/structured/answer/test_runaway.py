"""Texts that will not end, and those that only look like it."""

import base64
import json
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.runaway import (
    LONGEST_UNIT,
    LOOK_EVERY,
    MOST_BLANKS,
    REPEATED_CHARS,
    REPEATED_FIGURES,
    Runaway,
)

LONG = REPEATED_CHARS + 2 * LOOK_EVERY


def verdict(*pieces) -> str:
    runaway = Runaway()
    return next((reason for piece in pieces if (reason := runaway.feed(piece))), "")


def cut(text, size):
    return [text[i : i + size] for i in range(0, len(text), size)]


@pytest.mark.parametrize("size", [1, 5, 300, 10_000])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":' + " " * (MOST_BLANKS + 1), "endless whitespace"),
        ('{"a":' + "\n\t" * MOST_BLANKS, "endless whitespace"),
        ('{"a":' + " " * (MOST_BLANKS + 1) + "1}", "endless whitespace"),
        (("x" + " " * MOST_BLANKS) * 3, ""),
        ('{"a": "' + "\\n" * LONG, "endless repetition"),
        ('{"a": "' + "ha" * LONG, "endless repetition"),
        ("[" + "0, " * REPEATED_FIGURES, "endless repetition"),
        (json.dumps([[0] * 28] * 28), ""),
        (json.dumps([0.0] * 3_000), ""),
        ("x" * 30_000 + "0, " * 800, "endless repetition"),
        ("".join(map(str, range(8_000))) + "0, " * 900, ""),
        ("[" + '{"name": "John", "age": 42}, ' * LONG, "endless repetition"),
        ("x" * LONGEST_UNIT * LONG, "endless repetition"),
        ("".join(map(chr, range(33, 33 + LONGEST_UNIT))) * LONG, "endless repetition"),
        ("".join(map(chr, range(33, 34 + LONGEST_UNIT))) * LONG, ""),
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


@given(st.text(max_size=20), st.text(min_size=1, max_size=LONGEST_UNIT), st.lists(st.integers(1, LONG)))
def test_a_repetition_is_seen_however_it_is_cut(before, unit, cuts):
    text = before + unit * ((REPEATED_FIGURES + LONG) // len(unit) + 1)
    edges = [0, *sorted({edge for edge in cuts if edge < len(text)}), len(text)]
    assert verdict(*(text[start:end] for start, end in pairwise(edges)))


@given(st.lists(st.text(max_size=50)))
def test_short_texts_and_empty_pieces_are_fine(pieces):
    runaway = Runaway()
    assert not any(runaway.feed(piece) for piece in pieces if sum(map(len, pieces)) <= MOST_BLANKS)


def test_blanks_count_on_over_empty_pieces():
    assert verdict(*[" ", ""] * (MOST_BLANKS + 1))
