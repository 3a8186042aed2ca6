"""Which schemas are cheap enough for the event loop."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.structured.request.schema_weight import (
    MAX_LIGHT_CHARS,
    MAX_LIGHT_NODES,
    MAX_LIGHT_PATTERN_STATES,
    MAX_LIGHT_PATTERNS,
    MAX_LIGHT_SELF_REFERENCES,
    estimate_states,
    is_light,
)
from tests.support.schemas import doubling, with_patterns


@pytest.mark.parametrize(
    ("schema", "light"),
    [
        ({"type": "integer"}, True),
        ({"description": "x" * (MAX_LIGHT_CHARS - 100)}, True),
        ({"description": "x" * MAX_LIGHT_CHARS}, False),
        ({"enum": [[]] * (MAX_LIGHT_NODES - 2)}, True),
        ({"enum": [[]] * MAX_LIGHT_NODES}, False),
        ({"anyOf": [{"$ref": "#"}] * MAX_LIGHT_SELF_REFERENCES}, True),
        ({"anyOf": [{"$ref": "#"}] * (MAX_LIGHT_SELF_REFERENCES + 1)}, False),
        (doubling(6, lambda ref: {"anyOf": [{"$ref": ref}, {"$ref": ref}]}), True),
        (doubling(12, lambda ref: {"anyOf": [{"$ref": ref}, {"$ref": ref}]}), False),
        (with_patterns(MAX_LIGHT_PATTERNS), True),
        (with_patterns(MAX_LIGHT_PATTERNS + 1), False),
        ({"pattern": "a" * 900}, True),
        ({"pattern": "|" * 3000}, False),
        ({"pattern": r"^[a-z]{1,255}$"}, True),
        ({"pattern": r"^(?:\S+\s+){0,99}\S+$"}, False),
        ({"patternProperties": {r"\p{L}{3}": {}}}, False),
        ({"pattern": "(?=.*a)b"}, False),
        ({"pattern": "(?<!a)b"}, False),
        ({"pattern": r"(a+)\1"}, False),
        ({"pattern": "a++b"}, False),
        ({"pattern": "[a]*+b"}, False),
        ({"pattern": "(a){2}+b"}, False),
        ({"pattern": r"[.*+?]+\++"}, True),
        ({"pattern": "(?i)a"}, False),
        ({"pattern": r"\bword\b"}, False),
        ({"pattern": r"^\.\-\/\d\t\x41\u0041$"}, True),
        ({"pattern": "(?:a)(?<n>b)"}, True),
    ],
)
def test_what_is_light(schema, light):
    assert is_light(json.dumps(schema, separators=(",", ":")), schema) is light


@pytest.mark.parametrize(
    ("pattern", "size"),
    [
        ("", 0),
        ("abc", 3),
        ("a{3}", 3),
        ("a{2,5}b", 6),
        ("a{4,}", 4),
        ("(ab){3}", 6),
        ("((a{10}){10}){10}", 1000),
        ("(?:ab|c){2}", 8),
        (r"\.{3}", 3),
        ("[a-z{2}]{3}", 3),
        (r"[^\]]{2}", 20),
        (r"\p{L}{2}", 1000),
        (r"[\p{L}x]", 500),
        ("a{0}b", 1),
        (")a)", 3),
        ("((a", 1),
        ("{3}", 0),
    ],
)
def test_the_size_of_a_pattern_counts_repetitions_written_out(pattern, size):
    assert estimate_states(pattern) == size


@given(st.text(alphabet="ab(){}[]\\^$.*+?|,0123456789pPLwSD-:<>=!", max_size=40))
def test_any_text_has_a_size_as_a_pattern(pattern):
    assert estimate_states(pattern) >= 0


def test_the_limit_for_patterns_is_one_that_real_ones_keep():
    assert estimate_states(r"^((0|[1-9]\d*)\.){2}(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$") < MAX_LIGHT_PATTERN_STATES / 10
