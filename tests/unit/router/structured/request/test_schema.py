"""A schema -> one that answers can be checked against, or a 400 that says where in the schema the fault is."""

import asyncio
import json

import pytest
from hypothesis import given

from router.errors import BadRequest
from router.structured.request.schema import MAX_PATTERNS, MAX_SCHEMA_CHARS, Schema, compile_schema, schema_fault
from router.structured.request.schema_weight import (
    MAX_LIGHT_CHARS,
)
from router.structured.workers.grammar_workers import GrammarWorkers, WorkLimitExceeded
from tests.support.schemas import JSON, doubling, with_patterns

PARAM = "guided_json"


class FakeGrammarWorkers:
    """Grammar workers without processes. They remember their requests."""

    def __init__(self, *, hangs: bool = False) -> None:
        self.asked: list[str] = []
        self._hangs = hangs

    async def schema_fault(self, text):
        self.asked.append(text)
        if self._hangs:
            raise WorkLimitExceeded
        return schema_fault(text)


async def of(schema, workers=None) -> Schema:
    return await compile_schema(schema, PARAM, workers or FakeGrammarWorkers(), asyncio.Lock())


async def refused(schema, workers=None) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        await of(schema, workers)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, PARAM, "invalid_value")
    assert error.message.startswith(f"Invalid schema for '{PARAM}': ")
    assert len(error.message) < 700
    return error


@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"type": "integer"}, "1", False),
        ({"format": "date"}, "2024-02-30", False),
        ({"format": "date-time"}, "2024-02-28T10:00:00Z", True),
        ({"format": "uuid"}, "no", False),
        ({"format": "no-such-format"}, "no", True),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True}, 3, False),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, [1], False),
        ({"prefixItems": [{"type": "string"}]}, [1], False),  # 2020-12, the default
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "string"}}}, 1, False),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$id": "https://a/c", "type": "string"}}}, 1, False),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["b"]}, {"a": {}, "b": 1}, False),
        ({"enum": [{"$ref": "#/a"}]}, {"$ref": "#/a"}, True),  # no reference, only looks like one
        ({"enum": [10**30]}, 10**30, True),
        ({}, None, True),
        (True, None, True),
    ],
)
async def test_drafts_formats_and_references(schema, value, valid):
    assert (await of(schema)).validator.is_valid(value) is valid


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#x", "$defs": {"a": {"$anchor": "x", "type": "string"}}},
        {"$id": "https://a/b", "$ref": "c", "$defs": {"c": {"$id": "c", "type": "string"}}},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
    ],
)
async def test_a_reference_by_name_is_left_to_a_worker(schema):
    workers = FakeGrammarWorkers()
    compiled = await of(schema, workers)
    assert (compiled.validator, compiled.value, workers.asked) == (None, schema, [compiled.text])


WRONG = [
    ({"type": "objekt"}, "at '/type': \"objekt\" is not a type"),
    ({"properties": {"a": {"minLength": -1}}}, "at '/properties/a/minLength': -1 is less than the minimum of 0"),
    ({"properties": {"a/b": {"required": "x"}}}, 'at \'/properties/a~1b/required\': "x" is not of type "array"'),
    ({"anyOf": []}, "at '/anyOf'"),
    ({"pattern": "("}, "at '/pattern': \"(\" is no regular expression"),
    ({"patternProperties": {"(": {}}}, "at '/patternProperties/('"),
    ({"pattern": "((a{100}){100}){100}"}, "compiles to one that is too large"),
    ({"$ref": "https://host/x"}, "at '/$ref': the reference 'https://host/x'"),
    ({"$ref": "file:///etc/passwd"}, "points outside the document; references are never fetched"),
    ({"items": {"$ref": "other.json"}}, "points outside the document; references are never fetched"),
    ({"$defs": {"unused": {"$ref": "https://host/x"}}}, "at '/$defs/unused/$ref'"),
    ({"properties": {"a": {"$ref": "#/$defs/no"}}}, "at '/properties/a/$ref': the reference '#/$defs/no' points to no"),
    ({"properties": {"a": {"$ref": "#no"}}}, "at '/properties/a/$ref': the reference '#no' cannot be resolved"),
    ({"$ref": "#/allOf/" + "1" * 5000, "allOf": [{}]}, "at '/$ref'"),
    ({"$dynamicRef": "https://host/x"}, "points outside the document"),
    ({"$schema": "https://host/mine"}, "at '/$schema': 'https://host/mine' is an unknown draft"),
    ({"$schema": 3}, "at '/$schema'"),
]


@pytest.mark.parametrize(("schema", "message"), WRONG)
async def test_a_schema_that_is_none_is_refused_with_its_place(schema, message):
    assert message in (await refused(schema)).message


@pytest.mark.parametrize(("schema", "message"), WRONG)
async def test_a_worker_finds_the_same_fault(schema, message):
    workers = FakeGrammarWorkers()
    heavy = {"description": "x" * MAX_LIGHT_CHARS} | schema
    assert (await refused(heavy, workers)).message == (await refused(schema)).message
    assert len(workers.asked) == 1


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (False, "allows no value"),
        (None, "neither an object nor 'true'"),
        ([], "neither an object nor 'true'"),
        ("{}", "neither an object nor 'true'"),
        ({"description": "x" * MAX_SCHEMA_CHARS}, "is too large"),
        ({"description": "\ud800"}, "half of a surrogate pair"),
    ],
)
async def test_what_is_no_document_is_refused_before_it_is_compiled(schema, message):
    workers = FakeGrammarWorkers()
    assert message in (await refused(schema, workers)).message
    assert workers.asked == []


@pytest.mark.parametrize(("levels", "message"), [(50, None), (90, "cannot be used"), (5000, "nested too deep")])
async def test_deep_nesting_is_refused(levels, message):
    schema: dict = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    if message:
        assert message in (await refused(schema)).message
    else:
        assert (await of(schema)).validator is not None


@pytest.mark.parametrize(
    "link",
    [
        lambda ref: {"allOf": [{"$ref": ref}, {"$ref": ref}]},
        lambda ref: {"anyOf": [{"$ref": ref}, {"$ref": ref}]},
        lambda ref: {"properties": {"x": {"$ref": ref}}, "allOf": [{"properties": {"x": {"$ref": ref}}}]},
    ],
)
async def test_a_schema_that_doubles_its_work_again_and_again_is_refused_at_once(link):
    error = await refused(doubling(60, link))  # to count it out would take longer than the suite may
    assert "is too complex" in error.message
    assert (await of(doubling(5, link))).validator is not None


async def test_a_long_chain_of_references_is_refused():
    chain = doubling(2000, lambda ref: {"allOf": [{"$ref": ref}]})
    assert "is too complex" in (await refused(chain)).message


async def test_a_schema_that_compiles_too_long_is_refused():
    assert "could not be compiled in time" in (await refused({"$ref": "#x"}, FakeGrammarWorkers(hangs=True))).message


async def test_a_long_chain_of_cases_is_not_too_complex():
    schema: dict = {}
    for i in range(30):
        schema = {"if": {"properties": {"kind": {"const": i}}}, "then": {"required": ["a"]}, "else": schema}
    assert (await of(schema)).validator.is_valid({"kind": 3, "a": 1})


@pytest.mark.parametrize("kind", ["pattern", "patternProperties"])
async def test_patterns_have_a_number(kind):
    await of(with_patterns(MAX_PATTERNS, kind))
    error = await refused(with_patterns(MAX_PATTERNS + 1, kind))
    assert f"has {MAX_PATTERNS + 1} patterns, at most {MAX_PATTERNS} are allowed" in error.message


async def test_patterns_of_both_kinds_count_together():
    half = MAX_PATTERNS // 2 + 1
    error = await refused({"allOf": [with_patterns(half), with_patterns(half, "patternProperties")]})
    assert f"has {2 * half} patterns" in error.message


@pytest.mark.parametrize("huge", ["((a{100}){100}){100}", "a{1000000}", "(?=(a{500}){500})b"])
async def test_a_pattern_that_is_too_large_is_refused_wherever_it_stands(huge):
    for schema in ({"items": {"pattern": huge}}, {"patternProperties": {huge: {}}}):
        error = await refused({"anyOf": [schema, with_patterns(3)]})
        assert "too large" in error.message
        assert "/anyOf/0" in error.message


async def outcome(compiling):
    try:
        return await compiling
    except BadRequest as error:
        return error


@given(JSON)
async def test_any_json_is_a_schema_or_a_bad_request(value):
    schema = await outcome(of(value))
    if isinstance(schema, BadRequest):
        assert schema.param == PARAM
    else:
        assert json.loads(schema.text) == schema.value


async def test_real_workers_find_faults_too():
    workers = GrammarWorkers()
    try:
        heavy = {"description": "x" * MAX_LIGHT_CHARS, "type": "objekt"}
        assert "at '/type'" in (await refused(heavy, workers)).message
        assert (await of(heavy | {"type": "object"}, workers)).validator is None
    finally:
        await workers.close()
