"""Answers and constraints for the tests that check answers, and grammar workers without processes."""

import asyncio
import json
import re

import jsonschema_rs
from hypothesis import strategies as st

from router.structured.answer.check import check_choice, check_message
from router.structured.answer.instance import find_fault
from router.structured.constraint import CallConstraint, Constraint, OutputFormat, Schema, Tool
from router.structured.request.schema import compile_options
from router.structured.workers.grammar_workers import Match, WorkLimitExceeded
from router.types import Verdict


class FakeGrammarWorkers:
    """Does at once what the real one does in processes; grammars are regular expressions."""

    def __init__(self, *, stuck=False):
        self.stuck = stuck
        self.asked = []

    async def match(self, kind, source, text):
        self.asked.append(kind)
        if self.stuck:
            raise WorkLimitExceeded
        if re.fullmatch(source, text):
            return Match("valid")
        # enough for literal sources
        return Match("incomplete" if re.sub(r"\W", "", source).startswith(text) else "invalid")

    async def instance_fault(self, text, instance):
        self.asked.append(instance)
        if self.stuck:
            raise WorkLimitExceeded
        schema = json.loads(text)
        return find_fault(schema, jsonschema_rs.validator_for(schema, **compile_options()), json.loads(instance))

    async def check_message(self, constraint, message, *, at_limit):
        self.asked.append("check_message")
        if self.stuck:
            raise WorkLimitExceeded
        return await check_message(constraint, message, self, at_limit=at_limit)


def schema_of(value, *, heavy=False) -> Schema:
    text = json.dumps(value)
    light = None if heavy else jsonschema_rs.validator_for(text, mask="the value", **compile_options())
    return Schema(text, value, light)


def of(value, *, heavy=False) -> Constraint:
    return Constraint(OutputFormat("json_schema", "response_format", schema_of(value, heavy=heavy)))


def said(content, finish_reason="stop", **message):
    return {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish_reason}


def call(arguments, name="weather", id="a", **more):  # noqa: A002
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def called(*calls, content=None, **message):
    return said(content, "tool_calls", tool_calls=list(calls), **message)


def both(constraint, choice, workers=None, **more):
    """Return the verdict and what may leave, and see that nothing else changed."""
    before = json.dumps(choice)
    verdict, may_leave = asyncio.run(check_choice(constraint, choice, workers or FakeGrammarWorkers(), **more))
    assert json.dumps(choice) == before
    says_so = choice.get("finish_reason") == "length"
    assert (may_leave is not choice) == (verdict.word == "repaired" or (verdict.word == "truncated" and not says_so))
    return verdict, may_leave


def judged(constraint, content) -> Verdict:
    return both(constraint, content if isinstance(content, dict) else said(content))[0]


PERSON_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
PERSON, OBJECT = of(PERSON_SCHEMA), Constraint(OutputFormat("json_object", "response_format"))
A = '{"name": "A", "age": 3}'
CITY = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
TOOLS = {
    "weather": Tool("weather", schema_of(CITY)),
    "now": Tool("now", schema_of({"type": "object"})),
    "any": Tool("any"),
}
PARIS = '{"city": "Paris"}'
AUTO = Constraint(calls=CallConstraint(TOOLS))
REQUIRED = Constraint(calls=CallConstraint(TOOLS, required=True))
SINGLE = Constraint(calls=CallConstraint(TOOLS, single=True))
LEGACY = Constraint(calls=CallConstraint(TOOLS, legacy=True))
EITHER = Constraint(PERSON.output_format, AUTO.calls)
WRITTEN = '{"name": "weather", "arguments": {"city": "Paris"}}'
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=15)
