"""response_format -> constraint, or a 400 that says where in the schema the fault is."""

import pytest

from router.errors import BadRequest
from router.structured.plan import (
    HEAVY_CHARS,
    HEAVY_PATTERNS,
    MAX_PATTERNS,
    MAX_SCHEMA_CHARS,
    Constraint,
    plan,
    plan_format,
)
from tests.support.fakes import call

PARAM = "response_format.json_schema.schema"


def of(schema) -> Constraint:
    constraint = plan_format({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert constraint is not None
    return constraint


@pytest.mark.parametrize("body", [{}, {"response_format": None}, {"response_format": {"type": "text"}}])
def test_free_text_has_no_constraint(body):
    assert plan(call(**body)) is None


def test_what_stands_beside_a_format_is_not_kept():
    one = call(response_format={"type": "json_object", "pad": "x" * HEAVY_CHARS})
    assert plan(one) is not plan(one)
    other = call(response_format={"type": "json_object", "pad": "x"})
    assert plan(other) is plan(other)


def test_what_is_wrong_is_said_each_time():
    for _ in range(2):
        with pytest.raises(BadRequest):
            plan(call(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "no"}}}))


def test_json_object_asks_for_an_object():
    constraint = plan_format({"type": "json_object"})
    assert (constraint.kind, constraint.schema, constraint.validator) == ("json_object", None, None)


def test_a_schema_is_compiled():
    constraint = of({"type": "integer"})
    assert constraint.kind == "json_schema"
    assert constraint.validator.is_valid(1)
    assert not constraint.validator.is_valid("1")


@pytest.mark.parametrize(
    ("schema", "value", "valid"),
    [
        ({"format": "date"}, "2024-02-30", False),
        ({"format": "date-time"}, "2024-02-28T10:00:00Z", True),
        ({"format": "uuid"}, "no", False),
        ({"format": "no-such-format"}, "no", True),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 3, "exclusiveMaximum": True}, 3, False),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]}, [1], False),
        ({"prefixItems": [{"type": "string"}]}, [1], False),  # 2020-12, the default
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "string"}}}, 1, False),
        ({"$ref": "#x", "$defs": {"a": {"$anchor": "x", "type": "string"}}}, 1, False),
        ({"$id": "https://a/b", "$ref": "c", "$defs": {"c": {"$id": "c", "type": "string"}}}, 1, False),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, {"type": "no"}, False),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["b"]}, {"a": {}, "b": 1}, False),
        ({"enum": [{"$ref": "https://a/b"}]}, {"$ref": "https://a/b"}, True),  # no reference, only looks like one
    ],
)
def test_drafts_formats_and_references(schema, value, valid):
    assert of(schema).validator.is_valid(value) is valid


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"type": "objekt"}, "at '/type': \"objekt\" is not a type"),
        ({"properties": {"a": {"minLength": -1}}}, "at '/properties/a/minLength': -1 is less than the minimum of 0"),
        ({"properties": {"a/b": {"required": "x"}}}, 'at \'/properties/a~1b/required\': "x" is not of type "array"'),
        ({"anyOf": []}, "at '/anyOf'"),
        ({"pattern": "("}, "at '/pattern': \"(\" is no regular expression"),
        ({"patternProperties": {"(": {}}}, "at '/patternProperties/('"),
        ({"pattern": "((a{100}){100}){100}"}, "compiles to one that is too large"),
        ({"$ref": "https://host/x"}, "at '/$ref': 'https://host/x'"),
        ({"$ref": "file:///etc/passwd"}, "points outside of the document; references are never fetched"),
        ({"items": {"$ref": "other.json"}}, "points outside of the document; references are never fetched"),
        ({"$defs": {"unused": {"$ref": "https://host/x"}}}, "at '/$defs/unused/$ref'"),
        ({"properties": {"a": {"$ref": "#/$defs/no"}}}, "a reference to nothing: at '/properties/a/$ref'"),
        ({"properties": {"a": {"$ref": "#no"}}}, "cannot be resolved: at '/properties/a/$ref': '#no'"),
        ({"$dynamicRef": "https://host/x"}, "points outside of the document"),
        ({"$schema": "https://host/mine"}, "names an unknown draft: at '/$schema'"),
        ({"$schema": 3}, "at '/$schema'"),
        ({"description": "x" * MAX_SCHEMA_CHARS}, "is too large"),
        ({"description": "\ud800"}, "half a character"),
        ({"maximum": float("inf")}, "holds a number"),
    ],
)
def test_a_schema_that_is_none_is_refused_with_its_place(schema, message):
    with pytest.raises(BadRequest) as caught:
        of(schema)
    error = caught.value
    assert (error.status, error.param, error.code) == (400, PARAM, "invalid_value")
    assert message in error.message
    assert len(error.message) < 700


@pytest.mark.parametrize(("levels", "message"), [(150, "cannot be used"), (5000, "nested too deep")])
def test_deep_nesting_is_refused(levels, message):
    schema: dict = {}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    with pytest.raises(BadRequest, match=message):
        of(schema)


def doubling(levels: int, link) -> dict:
    chain = {f"a{i}": link(f"#/$defs/a{i + 1}") for i in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": chain | {f"a{levels}": {"type": "string"}}}


@pytest.mark.parametrize(
    "link",
    [
        lambda ref: {"allOf": [{"$ref": ref}, {"$ref": ref}]},
        lambda ref: {"anyOf": [{"$ref": ref}, {"$ref": ref}]},
        lambda ref: {"properties": {"x": {"$ref": ref}}, "allOf": [{"properties": {"x": {"$ref": ref}}}]},
    ],
)
def test_a_schema_that_doubles_its_work_again_and_again_is_refused_at_once(link):
    with pytest.raises(BadRequest, match="is too complex"):
        of(doubling(60, link))  # to count it out would take longer than the suite may
    assert of(doubling(10, link)).validator is not None


def test_a_long_chain_of_cases_is_not_too_complex():
    schema: dict = {}
    for i in range(30):
        schema = {"if": {"properties": {"kind": {"const": i}}}, "then": {"required": ["a"]}, "else": schema}
    assert of(schema).validator.is_valid({"kind": 3, "a": 1})


def with_patterns(count: int, kind: str = "pattern") -> dict:
    if kind == "patternProperties":
        return {"patternProperties": {f"^a{i}$": {"type": "integer"} for i in range(count)}}
    return {"properties": {f"a{i}": {"pattern": f"^b{i}$"} for i in range(count)}}


@pytest.mark.parametrize("kind", ["pattern", "patternProperties"])
def test_patterns_have_a_number(kind):
    assert of(with_patterns(MAX_PATTERNS, kind)).validator is not None
    with pytest.raises(BadRequest) as caught:
        of(with_patterns(MAX_PATTERNS + 1, kind))
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, PARAM, "invalid_value")
    assert f"has {MAX_PATTERNS + 1} patterns, at most {MAX_PATTERNS} are allowed" in caught.value.message


def test_patterns_of_both_kinds_count_together():
    half = MAX_PATTERNS // 2 + 1
    with pytest.raises(BadRequest, match=f"has {2 * half} patterns"):
        of({"allOf": [with_patterns(half), with_patterns(half, "patternProperties")]})


@pytest.mark.parametrize("count", [1, HEAVY_PATTERNS + 1], ids=["light", "heavy"])
@pytest.mark.parametrize("huge", ["((a{100}){100}){100}", "a{1000000}", "(?=(a{500}){500})b"])
def test_a_pattern_that_is_too_large_is_refused_wherever_it_stands(count, huge):
    for schema in ({"items": {"pattern": huge}}, {"patternProperties": {huge: {}}}):
        with pytest.raises(BadRequest) as caught:
            of({"anyOf": [schema, with_patterns(count - 1)]})
        assert (caught.value.status, caught.value.param) == (400, PARAM)
        assert "too large" in caught.value.message
        assert "/anyOf/0" in caught.value.message


@pytest.mark.parametrize(
    ("schema", "heavy"),
    [
        ({"type": "integer"}, False),
        ({"description": "x" * (HEAVY_CHARS // 2)}, False),
        ({"description": "x" * HEAVY_CHARS}, True),
        (with_patterns(HEAVY_PATTERNS), False),
        (with_patterns(HEAVY_PATTERNS + 1), True),
    ],
    ids=["small", "long", "too long", "patterns", "too many patterns"],
)
def test_a_heavy_schema_is_known_and_not_kept(schema, heavy):
    assert of(schema).heavy is heavy
    one = call(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert plan(one).heavy is heavy
    assert (plan(one) is plan(one)) is not heavy


@pytest.mark.parametrize("wanted", ["json", 3, [], {}, {"type": "xml"}, {"type": None}, {"type": []}])
def test_an_unknown_format_is_refused(wanted):
    with pytest.raises(BadRequest) as caught:
        plan_format(wanted)
    assert caught.value.param == "response_format.type"


@pytest.mark.parametrize("wanted", [None, 3, {}, {"schema": None}, {"schema": True}])
def test_a_missing_schema_is_named(wanted):
    with pytest.raises(BadRequest) as caught:
        plan_format({"type": "json_schema", "json_schema": wanted})
    assert (caught.value.param, caught.value.code) == (PARAM, "missing_required_parameter")
