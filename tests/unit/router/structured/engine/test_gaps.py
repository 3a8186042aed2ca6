"""What grammars let through, by the look of a schema; and, drawn from llguidance's own grammars, that it is all."""

import json
import random

import jsonschema_rs
import llguidance
import pytest

from router.messages.strict_json import NotJson, loads
from router.structured.engine.gaps import enforcement_gap, may_be_refused
from router.structured.engine.guidance import _TOKENIZER
from router.structured.request.schema import compile_options

CLOSED = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "guidance", "xgrammar"),
    [
        ({}, "", ""),
        (CLOSED, "", ""),
        ({"$id": "http://x", "title": "x", "x-own": 1, **CLOSED}, "", ""),
        ({"type": ["string", "null"], "pattern": r"^[A-Z]{3}-\d+$"}, "", ""),
        ({"type": "string", "pattern": "abc"}, "a pattern may", "pattern"),
        ({"type": "string", "pattern": '^[^"]$'}, "a pattern may", "pattern"),
        ({"type": "string", "pattern": r"^\s$"}, "a pattern may", "pattern"),
        ({"type": "string", "pattern": "^.$"}, "a pattern may", "pattern"),
        ({"pattern": "^a$"}, "", "pattern"),
        ({"type": "string", "format": "uuid"}, "", ""),
        ({"type": "string", "format": "ipv4"}, "", "format ipv4"),
        ({"type": "string", "format": "date-time"}, "format date-time", "format date-time"),
        ({"type": "integer", "format": "int32"}, "", "format"),
        ({"type": "string", "maxLength": 3}, "", "maxLength"),
        ({"type": "string", "enum": ["a", "b"]}, "", ""),
        ({"type": "string", "enum": ["a", 3]}, "", "enum"),
        ({"type": "string", "const": 3}, "", "const"),
        ({"minimum": 3}, "", "minimum"),
        ({"type": "object", "required": ["a"]}, "", "required"),
        ({**CLOSED, "additionalProperties": True}, "", "additionalProperties"),
        ({"anyOf": [{"type": "null"}, CLOSED]}, "", ""),
        ({"anyOf": [{"required": ["a"]}], **CLOSED}, "", "anyOf"),
        ({"oneOf": [{"type": "null"}, CLOSED]}, "", ""),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "", "oneOf"),
        ({"allOf": [CLOSED]}, "", ""),
        ({"allOf": [CLOSED, CLOSED]}, "", "allOf"),
        ({"$ref": "#/$defs/a", "$defs": {"a": CLOSED}}, "", ""),
        ({"$ref": "#/$defs/a", "$defs": {"a": CLOSED}, "minimum": 3}, "", "$ref"),
        ({"$ref": "#name", "$defs": {"a": {"$anchor": "name"}}}, "", "$ref"),
        ({"type": "array", "items": {"type": "array", "prefixItems": [{"not": {}}]}}, "", "not"),
        ({"const": {"pattern": "a"}}, "", ""),
        ({"type": "object", "properties": {"pattern": {"type": "null"}}}, "", ""),
    ],
)
def test_gaps(schema, guidance, xgrammar):
    for found, expected in (
        (enforcement_gap(schema, "guidance"), guidance),
        (enforcement_gap(schema, "xgrammar"), xgrammar),
    ):
        assert found.startswith(expected)
        assert bool(found) == bool(expected)


@pytest.mark.parametrize(
    ("schema", "refused"),
    [
        (CLOSED, False),
        ({"type": "string", "format": "date"}, False),
        ({"type": "string", "format": "iri"}, True),
        ({"type": "string", "pattern": "a", "minLength": 1}, True),
        ({"properties": {"a": {"items": {"multipleOf": 2}}}}, True),
        ({"allOf": [{}, {}]}, True),
    ],
)
def test_what_vllm_may_refuse(schema, refused):
    assert may_be_refused(schema) == refused


def drawn(schema: dict, draw: random.Random) -> str | None:
    """Return an answer as a careless model would write it under llguidance's grammar; None: it came to no end."""
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
    matcher = llguidance.LLMatcher(_TOKENIZER, grammar, log_level=0)
    written = bytearray()
    while len(written) < 200:
        if matcher.is_accepting() and (matcher.is_stopped() or draw.random() < 0.3):
            return written.decode()
        allowed = [byte for byte, bias in enumerate(matcher.compute_logit_bias()[:256]) if bias]
        byte = draw.choices(
            allowed, [20 if byte in b'"}],:' else 5 if byte in b"0123-.abxyz" else 1 for byte in allowed]
        )
        matcher.consume_token(byte[0])
        written += bytes(byte)
    return None


@pytest.mark.parametrize(
    "schema",
    [
        CLOSED,
        {"type": "number", "minimum": -1.5, "exclusiveMaximum": 12.25, "multipleOf": 0.25},
        {"type": "string", "minLength": 2, "maxLength": 4},
        {"type": "string", "pattern": r"^[\w.-]+@(a|bc){2}$"},
        {"type": "string", "format": "ipv6"},
        {"type": "string", "format": "duration"},
        {
            "type": "array",
            "prefixItems": [{"type": "null"}],
            "items": {"type": "boolean"},
            "minItems": 2,
            "maxItems": 3,
        },
        {"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 9}], "multipleOf": 2},
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"type": "object", "properties": {"a": {"enum": [1, "a"]}}, "additionalProperties": {"type": "null"}},
        {"$defs": {"a": {"type": "integer"}}, "$ref": "#/$defs/a", "minimum": 3},
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "minimum": 3,
            "exclusiveMinimum": True,
            "type": "integer",
        },
    ],
)
def test_no_answer_drawn_from_a_grammar_without_gaps_breaks_the_schema(schema):
    assert enforcement_gap(schema, "guidance") == ""
    validator = jsonschema_rs.validator_for(schema, **compile_options())
    draw = random.Random(1)
    for text in filter(None, (drawn(schema, draw) for _ in range(40))):
        try:
            assert validator.is_valid(loads(text, unique_keys=True)), text
        except NotJson as error:
            assert "twice" in str(error) or "too large" in str(error)  # noqa: PT017
