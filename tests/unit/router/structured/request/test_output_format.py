"""The format that a request's fields ask for; nothing is compiled."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import BadRequest
from router.structured.request.output_format import (
    FORMAT_FIELDS,
    MAX_CHOICES,
    MAX_CHOICES_CHARS,
    MAX_GRAMMAR_CHARS,
    MAX_REGEX_CHARS,
    MAX_STRUCTURES,
    MAX_TAG_CHARS,
    requested_format,
)
from router.structured.request.spellings import MIME_FIELDS
from router.structured.request.tools import CALL_FIELDS, requested_tools
from tests.support.asked_formats import JSON, SCHEMA, TYPED, outcome, refused

TAG = {"structures": [{"begin": "<f>", "schema": SCHEMA, "end": "</f>"}], "triggers": ["<f"]}
JSON_SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


@pytest.mark.parametrize(
    "body",
    [
        {},
        dict.fromkeys(FORMAT_FIELDS),
        {"response_format": {"type": "text"}},
        {"guided_decoding_backend": "xgrammar", "guided_whitespace_pattern": " "},
    ],
)
def test_free_text_has_no_format(body):
    assert requested_format(body) is None


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        ({"response_format": {"type": "json_object"}}, "json_object", "response_format"),
        ({"structured_outputs": {"json_object": True}}, "json_object", "structured_outputs.json_object"),
        ({"response_format": JSON_SCHEMA}, "json_schema", "response_format.json_schema.schema"),
        ({"structured_outputs": {"json": SCHEMA}}, "json_schema", "structured_outputs.json"),
        ({"structured_outputs": {"json": '{"type": "object"}'}}, "json_schema", "structured_outputs.json"),
        ({"guided_json": SCHEMA}, "json_schema", "guided_json"),
        ({"guided_json": ' {"type":"object"}'}, "json_schema", "guided_json"),
        ({"response_format": {"type": "text"}, "guided_json": SCHEMA}, "json_schema", "guided_json"),
    ],
)
def test_json(body, kind, param):
    wanted = requested_format(body)
    assert (wanted.kind, wanted.param) == (kind, param)
    assert wanted.schema == (SCHEMA if kind == "json_schema" else None)


@pytest.mark.parametrize(("kind", "source"), [("regex", "a|b"), ("grammar", 'root ::= "a"')])
def test_a_text_that_describes_the_form(kind, source):
    for body, param in (
        ({"structured_outputs": {kind: source}}, f"structured_outputs.{kind}"),
        ({f"guided_{kind}": source}, f"guided_{kind}"),
    ):
        wanted = requested_format(body)
        assert (wanted.kind, wanted.param, wanted.source) == (kind, param, source)


def test_choices():
    for body in ({"structured_outputs": {"choice": ["a", "b"]}}, {"guided_choice": ["a", "b"]}):
        wanted = requested_format(body)
        assert (wanted.kind, wanted.choices) == ("choice", ("a", "b"))


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": {"type": "structural_tag", **TAG}}, "response_format"),
        ({"structured_outputs": {"structural_tag": TAG}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"structural_tag": json.dumps(TAG)}}, "structured_outputs.structural_tag"),
    ],
)
def test_a_structural_tag_becomes_its_json(body, param):
    wanted = requested_format(body)
    assert (wanted.kind, wanted.param, json.loads(wanted.source)) == ("structural_tag", param, TAG)


def test_what_accompanies_a_format_does_not_change_it():
    options = {"whitespace_pattern": " ", "disable_any_whitespace": True, "disable_additional_properties": True}
    assert requested_format({"structured_outputs": {"regex": "a", "json_object": False, **options}}).kind == "regex"


@pytest.mark.parametrize("one", FORMAT_FIELDS)
@pytest.mark.parametrize("other", FORMAT_FIELDS)
def test_two_formats_contradict_each_other(one, other):
    if one != other and not {one, other} & MIME_FIELDS:
        param = max(one, other, key=FORMAT_FIELDS.index)
        wrapped = {"format": {"type": "json_object"}, "guided_regex": "a"}
        asking = dict.fromkeys(
            (
                "text",
                "output_config",
                "extra_body",
                "generation_config",
                "generationConfig",
                "options",
                "sampling_params",
            ),
            wrapped,
        )
        body = {name: asking.get(name, {"type": "json_object"}) for name in (one, other)}
        message = refused(requested_format, body, param).message
        assert f"'{one}'" in message
        assert f"'{other}'" in message


def test_two_kinds_of_structured_outputs_contradict_each_other():
    error = refused(requested_format, {"structured_outputs": {"regex": "a", "json": {}}}, "structured_outputs.regex")
    assert "'structured_outputs.json' and 'structured_outputs.regex' cannot be used together" in error.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": []}}, "response_format.type"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": 3}}, "response_format.json_schema.schema"),
        ({"structured_outputs": []}, "structured_outputs"),
        ({"structured_outputs": {}}, "structured_outputs"),
        ({"structured_outputs": {"whitespace_pattern": " "}}, "structured_outputs"),
        ({"structured_outputs": {"json": "{"}}, "structured_outputs.json"),
        ({"structured_outputs": {"json_object": 1}}, "structured_outputs.json_object"),
        ({"guided_json": '{"a": NaN}'}, "guided_json"),
        ({"guided_json": "[" * 300 + "]" * 300}, "guided_json"),
        ({"guided_regex": ""}, "guided_regex"),
        ({"guided_regex": 3}, "guided_regex"),
        ({"guided_regex": "a" * (MAX_REGEX_CHARS + 1)}, "guided_regex"),
        ({"guided_grammar": ""}, "guided_grammar"),
        ({"guided_grammar": "a" * (MAX_GRAMMAR_CHARS + 1)}, "guided_grammar"),
        ({"guided_choice": "a"}, "guided_choice"),
        ({"guided_choice": []}, "guided_choice"),
        ({"guided_choice": [""]}, "guided_choice"),
        ({"guided_choice": ["a", 1]}, "guided_choice"),
        ({"guided_choice": ["a", "b", "a"]}, "guided_choice"),
        ({"guided_choice": [f"{i}" for i in range(MAX_CHOICES + 1)]}, "guided_choice"),
        ({"guided_choice": ["a" * (MAX_CHOICES_CHARS + 1)]}, "guided_choice"),
        ({"structured_outputs": {"structural_tag": "[]"}}, "structured_outputs.structural_tag"),
        ({"structured_outputs": {"structural_tag": {"format": {}}}}, "structured_outputs.structural_tag.format"),
    ],
)
def test_an_invalid_format_is_refused(body, param):
    refused(requested_format, body, param)


def structure(**fields):
    return [TAG["structures"][0] | fields]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"format": {"type": "tag"}}, ".format"),
        ({"triggers": None}, ".triggers"),
        ({"triggers": []}, ".triggers"),
        ({"triggers": [""]}, ".triggers[0]"),
        ({"structures": {}}, ".structures"),
        ({"structures": structure() * (MAX_STRUCTURES + 1)}, ".structures"),
        ({"structures": [3]}, ".structures[0]"),
        ({"structures": structure(begin="<g>")}, ".structures[0].begin"),
        ({"structures": structure(begin=3)}, ".structures[0].begin"),
        ({"structures": structure(end=None)}, ".structures[0].end"),
        ({"structures": structure(schema=[])}, ".structures[0].schema"),
        ({"structures": structure(end="x" * MAX_TAG_CHARS)}, ""),
    ],
)
def test_an_invalid_structural_tag_is_refused(fields, param):
    body = {"response_format": {"type": "structural_tag", **TAG, **fields}}
    refused(requested_format, body, "response_format" + param)


@given(st.dictionaries(st.sampled_from([*FORMAT_FIELDS, *CALL_FIELDS]), JSON | TYPED, max_size=3))
def test_any_fields_ask_for_something_or_are_a_bad_request_that_names_one(body):
    for ask in (requested_format, requested_tools):
        result = outcome(ask, body)
        assert not isinstance(result, BadRequest) or any(result.param.startswith(name) for name in body)
