"""JSON values against their schemas."""

import json

from hypothesis import given
from hypothesis import strategies as st

from router.structured.answer.instance import MAX_MESSAGE_CHARS
from tests.support.answers import (
    AUTO,
    PERSON_SCHEMA,
    VALUES,
    A,
    FakeGrammarWorkers,
    both,
    call,
    called,
    judged,
    of,
    said,
)


def test_what_a_heavy_schema_says_is_found_by_a_worker():
    workers = FakeGrammarWorkers()
    heavy = of(PERSON_SCHEMA, heavy=True)
    assert both(heavy, said(A), workers)[0].word == "valid"
    assert both(heavy, said(f"So: {A}"), workers)[1]["message"]["content"] == A
    assert both(heavy, said('{"name": "A", "age": "x"}'), workers)[0].path == "/age"
    assert len(workers.asked) == 3
    assert both(heavy, said("{"), workers)[0].word == "invalid"
    assert len(workers.asked) == 3


def test_messages_stay_short_and_do_not_repeat_the_answer():
    long = "x" * 100_000
    for value, content in (
        ({"maxLength": 3}, json.dumps(long)),
        ({"enum": ["y" * 1_000]}, json.dumps("x" * 500)),
        ({"additionalProperties": False}, json.dumps({"x" * 500: 1})),
        ({"additionalProperties": {"type": "null"}}, json.dumps({long: 1})),
        ({}, json.dumps({long: 1})[:-1] + f', "{long}": 1}}'),
    ):
        verdict = judged(of(value), content)
        assert verdict.word == "invalid"
        assert len(verdict.message) <= MAX_MESSAGE_CHARS
        assert len(verdict.path) <= MAX_MESSAGE_CHARS
    assert len(judged(AUTO, called(call("{}", long))).message) <= MAX_MESSAGE_CHARS


def test_a_pattern_that_backtracks_without_end_is_invalid_not_a_hang():
    assert judged(of({"pattern": r"^(a|aa)+\1c$"}), json.dumps("a" * 60 + "b")).word == "invalid"


TYPES = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string"}


def narrow(value) -> dict:
    """Return a schema that this value satisfies, as narrow as types and names make it."""
    if isinstance(value, dict):
        return {
            "type": "object",
            "properties": {key: narrow(part) for key, part in value.items()},
            "required": list(value),
            "additionalProperties": False,
        }
    if isinstance(value, list):
        return {"type": "array", "prefixItems": [narrow(part) for part in value], "items": False} if value else {}
    return {"type": TYPES[type(value)]}


@given(VALUES)
def test_a_value_satisfies_the_schema_made_from_it(value):
    assert judged(of(narrow(value)), json.dumps(value)).word == "valid"


@given(st.dictionaries(st.text(), VALUES, min_size=1), st.data())
def test_a_missing_a_foreign_and_a_doubled_key_are_invalid(value, data):
    constraint = of(narrow(value))
    key = data.draw(st.sampled_from(sorted(value)))
    missing = {name: part for name, part in value.items() if name != key}
    foreign = value | {key + "_": None}
    assert judged(constraint, json.dumps(missing)).word == "invalid"
    if key + "_" not in value:
        assert judged(constraint, json.dumps(foreign)).word == "invalid"
    doubled = json.dumps(value)[:-1] + f", {json.dumps(key)}: 1}}"
    assert judged(constraint, doubled).word == "invalid"
