"""Formats as other servers spell them: each is the constraint that was meant, or a 400 that names the field."""

import pytest

from router.structured.request.output_format import format_fields, requested_format
from tests.support.asked_formats import refused

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
WRAPPED = {"name": "mine", "schema": SCHEMA, "strict": True}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, "response_format.schema"),
        ({"response_format": {"type": "json_object", "json_schema": SCHEMA}}, "response_format.json_schema"),
        ({"response_format": {"type": "json_schema", "schema": SCHEMA}}, "response_format.schema"),
        ({"responseSchema": SCHEMA}, "responseSchema"),
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "output_config.format.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": SCHEMA}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            "response_format.json_schema.schema",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema_definition": SCHEMA}}},
            "response_format.json_schema.schema_definition",
        ),
        ({"format": {"json_schema": WRAPPED}}, "format.json_schema.schema"),
        ({"response_format": {"type": "json", "value": SCHEMA}}, "response_format.value"),
        ({"response_format": SCHEMA}, "response_format"),
        ({"json_schema": SCHEMA}, "json_schema"),
        ({"json_schema": WRAPPED}, "json_schema.schema"),
        ({"json_schema": {}}, "json_schema"),
        ({"format": SCHEMA}, "format"),
        ({"format": {"type": "json_schema", "schema": SCHEMA}}, "format.schema"),
        ({"output_format": {"type": "json_schema", "schema": SCHEMA}}, "output_format.schema"),
        ({"text": {"format": {"type": "json_schema", **WRAPPED}}}, "text.format.schema"),
        ({"grammar": {"type": "json", "value": SCHEMA}}, "grammar.value"),
        ({"response_schema": SCHEMA}, "response_schema"),
        ({"schema": SCHEMA}, "schema"),
    ],
    ids=str,
)
def test_a_schema(body, param):
    wanted = requested_format(body)
    assert (wanted.kind, wanted.param) == ("json_schema", param)
    assert wanted.schema == ({} if body == {"json_schema": {}} else SCHEMA)
    assert not wanted.is_openai, "an API would ignore it"
    assert format_fields(body) == list(body)


@pytest.mark.parametrize(
    "body",
    [
        {"response_format": {"type": "json"}},
        {"format": "json"},
        {"text": {"format": {"type": "json_object"}}},
        {"guided_json_object": True},
        {"json_mode": True},
        {"response_mime_type": "application/json"},
    ],
    ids=str,
)
def test_any_object(body):
    assert requested_format(body).kind == "json_object"


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        ({"regex": "a+"}, "regex", "regex"),
        ({"response_format": {"type": "regex", "pattern": "a+"}}, "regex", "response_format.pattern"),
        ({"grammar": {"type": "regex", "value": "a+"}}, "regex", "grammar.value"),
        ({"grammar": "a+"}, "grammar", "grammar"),
        ({"ebnf": "a+"}, "grammar", "ebnf"),
        ({"response_format": {"type": "grammar", "grammar": "a+"}}, "grammar", "response_format.grammar"),
    ],
    ids=str,
)
def test_a_text_that_describes_the_form(body, kind, param):
    wanted = requested_format(body)
    assert (wanted.kind, wanted.param, wanted.source) == (kind, param, "a+")


def test_choices():
    wanted = requested_format({"response_format": {"type": "choice", "choices": ["a", "b"]}})
    assert (wanted.kind, wanted.choices) == ("choice", ("a", "b"))


@pytest.mark.parametrize(
    ("described", "about"),
    [
        ({"type": "json_schema", "json_schema": WRAPPED}, {"name": "mine", "strict": True}),
        ({"type": "json_schema", **WRAPPED}, {"name": "mine", "strict": True}),
        ({"type": "json_schema", "schema": SCHEMA, "name": "not a name"}, {"name": "answer"}),
        ({"type": "json_object", "schema": SCHEMA}, {"name": "answer"}),
    ],
)
def test_what_is_said_of_a_schema_is_kept(described, about):
    assert requested_format({"response_format": described}).about == about


@pytest.mark.parametrize(
    ("described", "is_openai"),
    [
        ({"type": "json_schema", "json_schema": WRAPPED}, True),
        ({"type": "json_object"}, True),
        ({"type": "structural_tag", "triggers": ["<"], "structures": [{"begin": "<", "end": ">"}]}, True),
        ({"type": "json_schema", "json_schema": {"schema": SCHEMA}}, False),
        ({"type": "json"}, False),
    ],
)
def test_only_openais_own_spelling_can_be_forwarded(described, is_openai):
    assert requested_format({"response_format": described}).is_openai == is_openai


@pytest.mark.parametrize(
    "body",
    [
        {"format": {"type": "text"}},
        {"text": {"verbosity": "low"}},
        {"text": {"format": {"type": "text"}}},
        {"text": "hello"},
        {"extra_body": {"top_k": 1}},
        {"generation_config": {"top_k": 1}},
        {"guided_json_object": False},
    ],
    ids=str,
)
def test_free_text(body):
    assert requested_format(body) is None
    assert format_fields(body) == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"response_format": {"type": "text", "schema": SCHEMA}}, "response_format.type"),
        ({"generationConfig": {"responseSchema": SCHEMA}}, "generationConfig"),
        ({"guided_decoding": {"json": SCHEMA}}, "guided_decoding"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "regex"}}, "response_format.pattern"),
        ({"response_format": {"type": "object"}}, "response_format.type"),
        ({"response_format": {}}, "response_format.type"),
        ({"response_format": {"schema": SCHEMA}}, "response_format.type"),
        ({"response_format": "json_object"}, "response_format"),
        ({"format": "yaml"}, "format"),
        ({"format": 3}, "format"),
        ({"grammar": 3}, "grammar"),
        ({"json_schema": "x"}, "json_schema"),
        ({"regex": {"pattern": "a"}}, "regex"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"extra_body": {"guided_json": SCHEMA}}, "extra_body.guided_json"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_by_name(body, param):
    refused(requested_format, body, param)


def test_two_spellings_are_refused_by_name():
    error = refused(requested_format, {"response_format": {"type": "json_object"}, "format": SCHEMA}, "format")
    assert "'response_format'" in error.message


def test_the_media_type_of_json_says_nothing_beside_its_schema():
    wanted = requested_format({"response_mime_type": "application/json", "response_schema": SCHEMA})
    assert (wanted.kind, wanted.schema) == ("json_schema", SCHEMA)


@pytest.mark.parametrize("body", [{"options": {"format": "json"}}, {"sampling_params": {"regex": "a"}}], ids=str)
def test_a_format_among_an_engines_own_options_is_an_error_that_names_it(body):
    refused(requested_format, body, next(iter(body)))


@pytest.mark.parametrize(
    "body", [{"options": {"num_ctx": 9}}, {"json_mode": False}, {"response_mime_type": "text/plain"}], ids=str
)
def test_what_asks_for_no_format_is_none(body):
    assert requested_format(body) is None


@pytest.mark.parametrize("name", ["text", "output_config"])
def test_a_schema_beside_the_place_of_the_format_is_an_error(name):
    refused(requested_format, {name: {"type": "text", "json_schema": False}}, f"{name}.format")
