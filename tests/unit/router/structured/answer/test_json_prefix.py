"""JSON in pieces: what can go on, what cannot, what is whole."""

import json
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.messages.strict_json import MAX_DEPTH, NotJson, loads
from router.structured.answer.json_prefix import JsonPrefix

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)
JSON = st.builds(json.dumps, VALUES, ensure_ascii=st.booleans(), indent=st.sampled_from([None, 1]))
# nearly JSON: what a small change makes of it
TOKENS = st.sampled_from(
    [
        *'{}[]",:\\ue-+.0 \n\x00',
        "01",
        '"a":',
        '"a"',
        "\\u",
        "\\ud83d",
        "\\ude00",
        "d8",
        "NaN",
        "1e999",
        "9" * 320,
        "tru",
        "nulls",
        "\ufeff",
        "\xa0",
        "\ud800",
        "🙂",
    ]
)
TEXTS = JSON | st.lists(TOKENS).map("".join) | st.tuples(JSON, TOKENS, JSON).map("".join)
LONG = json.dumps({f"key {i}": [i, -i / 7, "v\\" * (i % 3), None, True, {"a": i, "b": [i] * 50}] for i in range(20)})


def pieces(text, cuts):
    edges = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def fed(*texts) -> JsonPrefix:
    prefix = JsonPrefix()
    for text in texts:
        prefix.feed(text)
    return prefix


def whole(text) -> bool:
    try:
        loads(text, unique_keys=True)
    except NotJson:
        return False
    return True


@given(TEXTS, st.lists(st.integers(0)))
@example(LONG, [])
@example(LONG + "]", [])
@example(LONG.replace("key 7", "key 5"), [300])
@example("[" + "1," * 100 + "1]", [])
@example("[" + "1," * 100 + "01]", [])
@example("{" + '"a": 1, ' * 30 + '"b": 1}', [])
@example("[" + '"a": 1, ' * 30 + '"b": 1]', [])
@example("{" + '"a", ' * 30 + '"b"}', [])
@example("1e999", [])
@example("-", [])
def test_it_is_complete_exactly_where_the_reader_accepts(text, cuts):
    try:
        accepted = fed(*pieces(text, cuts)).complete
    except NotJson:
        accepted = False
    assert accepted == whole(text)


@given(JSON)
@example(LONG)
@example('{"a": "\\ud83d\\ude00\\u00e9"}')
def test_every_beginning_of_json_is_accepted(text):
    prefix = JsonPrefix()
    for end, character in enumerate(text, 1):
        prefix.feed(character)
        assert prefix.complete == whole(text[:end])


@example("tru{", [])
@given(TEXTS, st.lists(st.integers(0)))
def test_the_cuts_change_nothing(text, cuts):
    def end(*texts):
        try:
            return fed(*texts).complete
        except NotJson as error:
            return str(error)

    assert end(*pieces(text, cuts)) == end(text) == end(*text)


@pytest.mark.parametrize(
    ("beginning", "impossible"),
    [
        ("", "x"),
        ("", "\ufeff"),
        ("", "`"),
        ("", "N"),
        ("-", "I"),
        ("", "\xa0"),
        ('"a', "\n"),
        ('"a\\', "x"),
        ('"\\u12', "g"),
        ('"\\ud83', '"'),
        ('"\\ud83d', '"'),
        ('"\\ud83d\\', "n"),
        ('"\\ud83d\\ud', "8"),
        ('"\\ud', "c"),
        ('"', "\ud83d"),
        ("[0", "1"),
        ("[-", "]"),
        ("[1.", "]"),
        ("[1e+", ","),
        ("[1", "x"),
        ("[1,", "]"),
        ("[", ","),
        ("{", ","),
        ('{"a"', "}"),
        ('{"a":', "}"),
        ('{"a": 1', "]"),
        ('{"a": 1,', "}"),
        ('{"a": 1, "\\u0061', '"'),
        ('{"a": {"b": 1}, "a', '"'),
        ("{}", "x"),
        ("{} \n", "{"),
        ("tr", "y"),
        ("true", "e"),
        ("[1e999", "]"),
        ("[" * MAX_DEPTH, "["),
        ('{"a":' * MAX_DEPTH, "{"),
    ],
)
def test_it_is_refused_at_the_first_impossible_character(beginning, impossible):
    prefix = fed(*beginning)
    assert not prefix.complete or beginning.strip() in ("{}", "true")
    with pytest.raises(NotJson):
        prefix.feed(impossible)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', 'an object names a key twice: "a"'),
        ('{"a": 1}\nand', 'unexpected "a" at character 10'),
        ("[" * (MAX_DEPTH + 1), "nested deeper than 200 levels"),
    ],
)
def test_a_refusal_says_where_or_why(text, message):
    with pytest.raises(NotJson) as caught:
        fed(text[:5], text[5:])
    assert str(caught.value) == message


def test_a_number_without_end_is_read_once():
    prefix = JsonPrefix()
    for _ in range(10_000):
        prefix.feed("3" * 100)
    assert len(prefix._number_head) == 1
    assert not prefix.complete  # beyond a double
