"""Strict JSON: what every other reader would read the same way."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.messages.strict_json import MAX_DEPTH, NotJson, decode, loads

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(VALUES, st.booleans(), st.booleans())
def test_every_json_value_is_read_as_the_standard_library_does(value, ascii_only, unique):
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert loads(text, unique_keys=unique) == json.loads(text)


def outcome(read, text):
    try:
        return json.dumps(read(text))
    except (NotJson, UnicodeDecodeError) as error:
        return type(error), str(error)


ODD = [
    "\\ud800",
    "\\ude00",
    "\\u0000",
    "NaN",
    "-0",
    "1e999",
    "1E5",
    "01",
    ".5",
    "\ufeff",
    "\x00",
    "\x1f",
    "\x7f",
    '"',
    "{",
    "}",
]


@given(VALUES, st.booleans(), st.lists(st.tuples(st.integers(0), st.sampled_from(ODD))))
def test_fast_reading_agrees_with_exact_reading(value, ascii_only, insertions):
    text = json.dumps(value, ensure_ascii=ascii_only)
    for place, odd in insertions:
        here = place % (len(text) + 1)
        text = text[:here] + odd + text[here:]
    raw = text.encode()
    assert outcome(decode, raw) == outcome(lambda raw: loads(raw.decode()), raw)


@given(st.binary(max_size=20))
def test_any_bytes_are_read_alike(raw):
    assert outcome(decode, raw) == outcome(lambda raw: loads(raw.decode()), raw)


def test_fast_reading_keeps_integers_beyond_a_double():
    assert decode(b"1" + b"0" * 400) == 10**400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("{} x", "Extra data"),
        ("{'a': 1}", "Expecting property name"),
        ('{"a": 1,}', "line 1 column"),
        ('"a\nb"', "Invalid control character"),
        ("\ufeff{}", "byte order mark"),
        ("\xa0{}", "Expecting value"),
        ("[NaN]", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("1e999", "too large for a double"),
        ("-1e999", "too large for a double"),
        ("9" * 309, "too large for a double"),
        ("-" + "9" * 5000, "too large for a double"),
        ('"\\ud800"', "half of a surrogate pair"),
        ('{"\\udc00": 1}', "half of a surrogate pair"),
        ('"\ud800"', "half of a surrogate pair"),
        ("[" * 100_000, "nested deeper"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper"),
        ('{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), "nested deeper"),
    ],
)
def test_what_is_no_strict_json_is_refused(text, message):
    with pytest.raises(NotJson) as caught:
        loads(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200
    with pytest.raises(NotJson, match=re.escape(str(caught.value))):
        loads(text, unique_keys=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (" \t\r\n1 ", 1),
        ("1" + "0" * 308, 10**308),
        ("1e308", 1e308),
        ("1e-999", 0.0),
        (str(2**64 + 1), 2**64 + 1),
        ('"\\ud83d\\ude00"', "😀"),
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
        ("[" + ",".join(["[]"] * 1000) + "]", [[]] * 1000),
    ],
)
def test_the_edges_are_accepted(text, value):
    assert loads(text) == value or value is None
    assert loads(text, unique_keys=True) == loads(text)


def test_a_key_named_twice_is_refused_on_demand():
    text = '{"a": {"b": 1, "c": 2, "b": 3}}'
    assert loads(text) == {"a": {"b": 3, "c": 2}}
    with pytest.raises(NotJson, match='names a key twice: "b"'):
        loads(text, unique_keys=True)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 1}',
        '{"a": {":": 1}, "a": 2}',
        r'{"a": 1, "\u0061": 2}',
        r'{"a": "\u003a", "a": "\u003A"}',
        r'{"a": ":", "a": "\u003a\u003a"}',
        '[[{"": [], "": {}}]]',
        '{"a": 18446744073709551616, "a": 1}',
    ],
)
def test_no_key_named_twice_slips_through(text):
    with pytest.raises(NotJson, match="names a key twice"):
        loads(text, unique_keys=True)


@given(VALUES, st.lists(st.tuples(st.integers(0), st.sampled_from([*ODD, "9" * 400, '"a":1,', '"\\u003a":1,', ":"]))))
def test_unique_keys_are_read_like_others_or_refused(value, insertions):
    text = json.dumps({"a": value})
    for place, odd in insertions:
        here = place % (len(text) + 1)
        text = text[:here] + odd + text[here:]
    plain, unique = outcome(loads, text), outcome(lambda text: loads(text, unique_keys=True), text)
    if isinstance(unique, tuple) and "twice" in unique[1]:
        return
    assert unique == plain
    if isinstance(unique, str):
        json.loads(text, object_pairs_hook=lambda pairs: pytest.fail(text) if len(dict(pairs)) < len(pairs) else 0)
