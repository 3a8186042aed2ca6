"""What may be taken off an answer, and what may not be touched."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.messages.strict_json import NotJson, loads
from router.structured.answer.repair import repair_json, strip_opening, text_candidates
from router.structured.constraint import OutputFormat

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=15)
CONTAINERS = st.lists(VALUES) | st.dictionaries(st.text(), VALUES)
WORDS = st.text(st.characters(exclude_characters='{}[]",:`', exclude_categories=["Cs"]))
OBJECT = '{"a": [1, "x,]"]}'


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("\ufeff" + OBJECT, OBJECT),
        (f"```json\n{OBJECT}\n```", OBJECT),
        (f"```\n{OBJECT}```", OBJECT),
        (f" ```JSON {OBJECT} ``` ", OBJECT),
        ("```\n42\n```", "42"),
        (f"<think>{{1}} or [2]?</think>\n\n{OBJECT}", OBJECT),
        (f"\ufeff\n<think></think>```json\n{OBJECT}\n```", OBJECT),
        (f"Here it is:\n```json\n{OBJECT}\n```\nAnything else?", OBJECT),
        (f'Sure, the "answer" is: {OBJECT}. Bye!', OBJECT),
        (f'{OBJECT}\n\nI hope it\'s of use: "yes"', OBJECT),
        (OBJECT + "\xa0", OBJECT),
        ('{"a": [1, 2,], "b": ",]",\n}', '{"a": [1, 2], "b": ",]"\n}'),
        ('So: {"a": [1 , ],}', '{"a": [1 ]}'),
        ('{"a": "\\",}",}', '{"a": "\\",}"}'),
        ('```\n{"a": "```"}\n```', '{"a": "```"}'),
    ],
)
def test_what_is_surely_not_meant_is_taken_off(text, meant):
    found, value = repair_json(text)
    assert value == loads(meant)
    assert found.replace(" ", "").strip() == meant.replace(" ", "")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "none",
        "{'a': 1}",
        '{"a": 1',
        '```json\n{"a": 1\n```',
        '{"a": 1}}',
        '{"a": 1} {"a": 2}',
        '{"a": 1}\n{"a": 2}',
        "See [1]: {}",
        '{"a": 1}, {"a": 2}',
        '"x": {"a": 1}',
        '{"a": 1}, "b": 2',
        "1, 2, [3]",
        '"x", ["y"]',
        "[3], 4",
        '{"a": NaN}',
        '{"a": 1, "a": 1}',
        '{"a": 1e999}',
        '{"a": 01}',
        '{"a": "\n"}',
        '{"a": 1 /* one */}',
        '{"a" 1}',
        "[,]",
        "{,}",
        "[ ,]",
        "[1,,]",
        '{"a":,}',
        "<think>" + OBJECT,
        "<think>" + "x" * 100,
        f"```\n{OBJECT}\n```\n```\n{OBJECT}\n```",
        "\ufeff\ufeff{}x{}",
        "42.",
        "The answer is 42",
    ],
)
def test_what_is_unclear_or_broken_stays_so(text):
    with pytest.raises(NotJson):
        repair_json(text)


def test_the_fault_is_that_of_the_text_as_it_is():
    with pytest.raises(NotJson, match="line 2 column"):
        repair_json('{\n "a"')


def test_prose_is_taken_off_only_where_it_may_be():
    with pytest.raises(NotJson):
        repair_json(f"Here: {OBJECT}", prose=False)
    assert repair_json(f"```\n{OBJECT}\n```", prose=False)[1] == loads(OBJECT)


@given(CONTAINERS, st.booleans(), st.sampled_from([None, 2]), WORDS, WORDS)
def test_any_value_survives_fence_thoughts_and_prose(value, ascii_only, indent, before, after):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert repair_json(text) == (text, value)
    for around in (f"```json\n{text}\n```", f"<think>{before}</think>{text}", f"{before}\n{text}\n{after}"):
        assert repair_json(around)[1] == value


@given(CONTAINERS, st.integers(1))
def test_what_was_cut_is_never_closed(value, cut):
    text = json.dumps(value)
    for around in ("%s", "```json\n%s\n```", "So: %s", "<think>x</think>%s"):
        with pytest.raises(NotJson):
            repair_json(around % text[: -1 - cut % (len(text) - 1)])


@pytest.mark.parametrize(
    "text",
    [
        "{" * 1_000_000,
        "[" * 1_000_000,
        "[]" * 500_000,
        '{"a":' * 200_000,
        "`" * 1_000_000,
        "```\n" * 250_000,
        "<think>" * 150_000,
        "<think>" + "[" * 1_000_000 + "</think>",
        "[" + "," * 1_000_000 + "]",
        "[" + "1, " * 300_000 + ",]",
        "[" + ", " * 500_000,
        '"' * 1_000_000,
        '{"a": ' + '\\"' * 500_000,
        '{"' + "\\" * 1_000_000,
        "[" + " " * 1_000_000 + ",]x",
        "-" + "9" * 1_000_000,
        "[" + "9" * 1_000_000 + "]x",
    ],
    ids=lambda text: text[:12],
)
def test_a_hostile_megabyte_is_refused_in_linear_time(text):
    with pytest.raises(NotJson):  # else the suite's time limit ends it
        repair_json(text)


@pytest.mark.parametrize(
    ("kind", "text", "meant"),
    [
        ("choice", " yes\n", "yes"),
        ("choice", '"yes"', "yes"),
        ("choice", "`yes`.", "yes"),
        ("choice", "'yes.'", "yes"),
        ("choice", "yes.", "yes"),
        ("choice", "```\nyes\n```", "yes"),
        ("choice", "<think>yes or no</think>\n\nyes", "yes"),
        ("choice", "\ufeffyes", "yes"),
        ("regex", '"yes" ', "yes"),
        ("grammar", "```text\nyes\n```\n", "yes"),
    ],
)
def test_what_a_text_may_mean(kind, text, meant):
    assert meant in text_candidates(OutputFormat(kind, kind), text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("regex", "yes."),
        ("choice", "yes!"),
        ("choice", "Yes"),
        ("choice", "yes.."),
        ("choice", "''yes''"),
        ("choice", "The answer is yes"),
        ("choice", "\"yes'"),
        ("structural_tag", " yes"),
    ],
)
def test_what_a_text_may_not_mean(kind, text):
    assert "yes" not in text_candidates(OutputFormat(kind, kind), text)


@pytest.mark.parametrize("text", ['```json\n{"a"', '\n{"a"', '```\n{"a"', '``` json\n{"a"'])
def test_what_an_answer_has_come_to(text):
    assert strip_opening(text).lstrip() in ('{"a"', 'json\n{"a"')
