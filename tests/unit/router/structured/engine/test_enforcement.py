"""How much of a constraint a model's decoding enforces."""

from __future__ import annotations

import json

import pytest

from router.structured.constraint import CallConstraint, Constraint, OutputFormat, Schema, Tool
from router.structured.engine.enforcement import enforcement_of
from router.structured.workers.grammar_workers import GrammarSupport
from tests.support import fakes

GUIDANCE = fakes.model(structured_backend="guidance")
XGRAMMAR = fakes.model(structured_backend="xgrammar")


class Asked:
    """Grammar workers with given answers; they remember what they were asked."""

    def __init__(self, word="whole", *, lenient=False):
        self.word, self.lenient, self.asked = word, lenient, []

    async def grammar_support(self, backend, kind, source):
        self.asked.append((backend, kind, source))
        return GrammarSupport(self.word, "", self.lenient)


def schema(value):
    return Schema(json.dumps(value, separators=(",", ":")), value)


def calls(*parameters, required=True):
    tools = {f"f{i}": Tool(f"f{i}", one and schema(one)) for i, one in enumerate(parameters)}
    return Constraint(calls=CallConstraint(tools, required=required))


@pytest.mark.parametrize("model", [fakes.large(), fakes.model()])
async def test_of_another_we_know_nothing(model):
    workers = Asked()
    assert await enforcement_of(Constraint(OutputFormat("json_object", "x")), model, workers) == "unknown"
    assert workers.asked == []


@pytest.mark.parametrize("word", ["whole", "partial", "none"])
async def test_of_a_form_the_library_says_it_and_is_asked_once(word):
    workers, constraint = Asked(word), Constraint(OutputFormat("json_schema", "x", schema({"type": "object"})))
    for _ in range(2):
        assert await enforcement_of(constraint, GUIDANCE, workers) == word
    assert workers.asked == [("guidance", "json_schema", '{"type":"object"}')]
    await enforcement_of(constraint, XGRAMMAR, workers)
    assert len(workers.asked) == 2


async def test_each_kind_has_its_source():
    workers = Asked()
    for output_format in (
        OutputFormat("regex", "x", source="a+"),
        OutputFormat("choice", "x", choices=("é", "b")),
        OutputFormat("json_object", "x"),
    ):
        await enforcement_of(Constraint(output_format), GUIDANCE, workers)
    assert [source for _, _, source in workers.asked] == ["a+", '["é","b"]', ""]


async def test_calls_that_may_be_made_are_not_decoded():
    assert await enforcement_of(calls({"type": "object"}, required=False), GUIDANCE, Asked()) == "none"
    both = Constraint(OutputFormat("json_object", "x"), calls({"type": "object"}, required=False).calls)
    assert await enforcement_of(both, GUIDANCE, Asked()) == "none"


async def test_calls_that_must_be_made():
    constraint = calls({"type": "object"}, None, {"type": "object", "properties": {}})
    assert await enforcement_of(constraint, GUIDANCE, Asked()) == "whole"
    assert await enforcement_of(constraint, XGRAMMAR, Asked()) == "partial"
    assert await enforcement_of(calls({"type": "object"}), GUIDANCE, Asked("partial")) == "partial"
    assert await enforcement_of(calls({"type": "object"}), GUIDANCE, Asked("partial", lenient=True)) == "none"
    assert await enforcement_of(calls({"type": "object"}), GUIDANCE, Asked("none")) == "none"


@pytest.mark.parametrize(
    ("parameters", "word"),
    [
        ([{"$defs": {"a": {"type": "integer"}}, "properties": {"x": {"$ref": "#/$defs/a"}}}], "whole"),
        ([{"definitions": {"a": {}}, "properties": {"x": {"$ref": "#/definitions/a"}}}], "none"),
        ([{"properties": {"x": {"$ref": "#"}}}], "none"),
        ([{"$defs": {"a": {"type": "integer"}}}, {"$defs": {"a": {"type": "integer"}}}], "whole"),
        ([{"$defs": {"a": {"type": "integer"}}}, {"$defs": {"a": {"type": "string"}}}], "none"),
    ],
)
async def test_references_must_survive_that_the_tools_become_one_schema(parameters, word):
    assert await enforcement_of(calls(*parameters), GUIDANCE, Asked()) == word


@pytest.mark.parametrize("model", [GUIDANCE, XGRAMMAR])
async def test_a_tool_that_cannot_be_checked_is_not_decoded_either(model):
    tools = {"f": Tool("f", schema({"type": "object"})), "g": Tool("g", is_checked=False)}
    workers = Asked()
    assert await enforcement_of(Constraint(calls=CallConstraint(tools, required=True)), model, workers) == "none"
    assert workers.asked == []
