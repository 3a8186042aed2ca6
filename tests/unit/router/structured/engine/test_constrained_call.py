"""How a constrained call is put to a model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from router.errors import StructuredOutputViolation
from router.structured.constraint import CallConstraint, Constraint, OutputFormat, Schema, Tool
from router.structured.engine.constrained_call import (
    ALL_FORMAT_FIELDS,
    MAX_QUOTE_CHARS,
    RetryHints,
    Target,
    as_text,
    constrain,
)
from router.upstream.dialects import DIALECTS
from router.upstream.dialects.vllm import WHITESPACE
from tests.support import fakes

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CLOSED = {**SCHEMA, "additionalProperties": False}
FORMAT = {"type": "json_schema", "json_schema": {"name": "mine", "schema": SCHEMA, "strict": True}}
TEXT = '{"type":"object","properties":{"a":{"type":"integer"}}}'
JSON = Constraint(OutputFormat("json_schema", "response_format", Schema(TEXT, SCHEMA)))
OPENAI = Constraint(replace(JSON.output_format, is_openai=True))
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]
MAY_CALL = CallConstraint({"f": Tool("f", Schema(TEXT, SCHEMA))})
MUST_CALL = CallConstraint({"f": Tool("f", Schema(TEXT, SCHEMA))}, required=True)

API = fakes.large()
GUIDANCE = fakes.model(structured_backend="guidance")
XGRAMMAR = fakes.model(structured_backend="xgrammar")
UNKNOWN = fakes.model()


def asked(model, enforcement, constraint=JSON, hints=None, **fields):
    target = Target(model, DIALECTS[model.engine], enforcement)
    return constrain(fakes.call(**fields), constraint, target, hints or RetryHints())


def prompt(call) -> str:
    return call.body["messages"][-1]["content"]


@pytest.mark.parametrize(("model", "enforcement"), [(API, "unknown"), (UNKNOWN, "unknown"), (XGRAMMAR, "whole")])
def test_the_clients_own_words_go_on_untouched(model, enforcement):
    call = fakes.call(response_format=FORMAT)
    assert constrain(call, OPENAI, Target(model, DIALECTS[model.engine], enforcement), RetryHints()) is call


def test_what_the_client_says_of_a_schema_in_another_spelling_goes_on():
    about = {"name": "mine", "strict": True}
    spelled = Constraint(replace(JSON.output_format, about=about))
    call = asked(API, "unknown", spelled, response_format={"type": "json_schema", "schema": SCHEMA, **about})
    assert call.fields["response_format"] == FORMAT


@pytest.mark.parametrize(("enforcement", "options"), [("whole", {}), ("partial", {"lenient": True})])
def test_guidance_is_told_how_much_whitespace_there_may_be_and_how_strict_to_be(enforcement, options):
    call = asked(GUIDANCE, enforcement, response_format=FORMAT)
    sent = call.fields["response_format"]["json_schema"]["schema"]
    assert sent == {**CLOSED, "x-guidance": {"whitespace_pattern": WHITESPACE, **options}}
    assert call.body["response_format"] == call.fields["response_format"]
    assert (TEXT in prompt(call)) == (enforcement == "partial")


def test_json_object_is_bounded_the_same_way():
    constraint = Constraint(OutputFormat("json_object", "response_format"))
    call = asked(GUIDANCE, "whole", constraint, response_format={"type": "json_object"})
    assert call.fields["response_format"]["json_schema"]["schema"] == {
        "type": "object",
        "x-guidance": {"whitespace_pattern": WHITESPACE},
    }


@pytest.mark.parametrize("model", [GUIDANCE, XGRAMMAR, API])
def test_what_decoding_cannot_hold_is_asked_for_in_words(model):
    call = asked(model, "none", response_format=FORMAT)
    assert "response_format" not in call.fields
    assert prompt(call).startswith("What is the capital of France?\n\n")
    assert TEXT in prompt(call)


@pytest.mark.parametrize("field", ["guided_json", "structured_outputs"])
def test_every_way_to_ask_for_a_schema_is_one_to_an_api(field):
    value = SCHEMA if field == "guided_json" else {"json": SCHEMA}
    call = asked(API, "unknown", **{field: value}, guided_decoding_backend="outlines")
    assert call.fields["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
    }
    assert {"response_format"} == call.fields.keys() & {*ALL_FORMAT_FIELDS}


@pytest.mark.parametrize(
    ("form", "field", "value"),
    [
        (OutputFormat("regex", "guided_regex", source="a+"), "guided_regex", "a+"),
        (OutputFormat("grammar", "guided_grammar", source='root ::= "a"'), "guided_grammar", 'root ::= "a"'),
        (OutputFormat("choice", "guided_choice", choices=("a", "b")), "guided_choice", ["a", "b"]),
    ],
)
def test_vllms_older_names_are_translated_and_an_api_is_asked_in_words(form, field, value):
    constraint = Constraint(form)
    call = asked(UNKNOWN, "unknown", constraint, **{field: value})
    assert call.fields["structured_outputs"] == {form.kind: value}
    assert field not in call.fields
    call = asked(API, "unknown", constraint, **{field: value})
    assert not call.fields.keys() & {*ALL_FORMAT_FIELDS}
    assert all(part in prompt(call) for part in value)


def test_a_vllm_that_may_call_is_not_bound_to_a_form():
    call = asked(GUIDANCE, "none", Constraint(JSON.output_format, MAY_CALL), response_format=FORMAT, tools=TOOLS)
    assert "response_format" not in call.fields
    assert "Unless you call a function: answer with nothing but" in prompt(call)
    beside = fakes.call(response_format=FORMAT, tools=TOOLS)
    both, api = Constraint(OPENAI.output_format, MAY_CALL), Target(API, DIALECTS["openai"], "unknown")
    assert constrain(beside, both, api, RetryHints()) is beside


@pytest.mark.parametrize(("model", "enforcement"), [(API, "unknown"), (UNKNOWN, "unknown")])
def test_a_call_that_must_be_made_goes_on_untouched(model, enforcement):
    call = fakes.call(tools=TOOLS, tool_choice="required")
    assert (
        constrain(call, Constraint(None, MUST_CALL), Target(model, DIALECTS[model.engine], enforcement), RetryHints())
        is call
    )


@pytest.mark.parametrize("model", [GUIDANCE, XGRAMMAR, UNKNOWN])
@pytest.mark.parametrize("field", [{"response_format": FORMAT}, {"structured_outputs": {"json": SCHEMA}}])
def test_where_a_call_must_be_made_no_form_goes_on(model, field):
    call = asked(model, "whole", Constraint(None, MUST_CALL), tools=TOOLS, tool_choice="required", **field)
    assert field.keys().isdisjoint(call.fields)


def test_guidance_decodes_no_arguments_but_those_that_have_a_name():
    call = asked(GUIDANCE, "whole", Constraint(None, MUST_CALL), tools=TOOLS, tool_choice="required")
    assert call.fields["tools"] == [{"type": "function", "function": {"name": "f", "parameters": CLOSED}}]


def test_xgrammar_holds_the_arguments_of_strict_tools():
    call = asked(XGRAMMAR, "partial", Constraint(None, MUST_CALL), tools=TOOLS, tool_choice="required")
    assert call.fields["tools"][0]["function"] == {"name": "f", "parameters": SCHEMA, "strict": True}


def test_tools_that_cannot_be_decoded_are_asked_for_in_words():
    call = asked(GUIDANCE, "none", Constraint(None, MUST_CALL), tools=TOOLS, tool_choice="required")
    assert call.fields["tool_choice"] == "auto"
    assert prompt(call).endswith("and nothing else: f.")


def test_an_invalid_answer_is_shown_with_what_was_wrong():
    wrong = StructuredOutputViolation("x", answer="n" * 5_000, fault="at '/a': missing")
    call = asked(GUIDANCE, "whole", hints=RetryHints(wrong=wrong), response_format=FORMAT)
    question, answer, correction = call.body["messages"]
    assert question == {"role": "user", "content": "What is the capital of France?"}
    assert answer == {"role": "assistant", "content": "n" * MAX_QUOTE_CHARS}
    assert "at '/a': missing" in correction["content"]


def test_an_answer_that_is_only_continued_is_not_corrected():
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "{"}]
    wrong = StructuredOutputViolation("x", answer="n", fault="f")
    call = asked(UNKNOWN, "unknown", hints=RetryHints(wrong=wrong), response_format=FORMAT, messages=messages)
    assert call.body["messages"] == messages


def test_a_prompt_of_parts_gets_one_more():
    messages = [{"role": "user", "content": [{"type": "text", "text": "q"}]}, {"role": "tool", "content": "r"}]
    call = asked(GUIDANCE, "none", response_format=FORMAT, messages=messages)
    assert len(call.body["messages"][0]["content"]) == 2
    assert call.body["messages"][1] == messages[1]


def test_without_a_user_the_system_says_it():
    call = asked(GUIDANCE, "none", response_format=FORMAT, messages=[{"role": "system", "content": "s"}])
    assert [message["role"] for message in call.body["messages"]] == ["system", "system"]


def test_a_schema_that_would_fill_the_context_is_left_out_of_the_prompt():
    small = fakes.model(structured_backend="guidance", context=20)
    assert asked(small, "none", response_format=FORMAT).body["messages"] == list(fakes.QUESTION)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_cut_answer_gets_more_room(name):
    call = asked(GUIDANCE, "whole", hints=RetryHints(room=4), response_format=FORMAT, **{name: 10})
    assert (call.fields[name], call.max_tokens) == (40, 40)


def test_completions_have_no_messages_to_add_to():
    call = asked(GUIDANCE, "partial", endpoint="completions", prompt="p", response_format=FORMAT)
    assert (call.body["prompt"], "messages" in call.body) == ("p", False)


def test_a_correction_quotes_calls_too():
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert '"arguments"' in as_text({"message": {"tool_calls": calls, "content": None}})
    assert as_text({"text": "t"}) == "t"
    assert as_text({"message": {"content": None}}) == ""


def test_a_correction_can_be_sent_whatever_it_quotes():
    assert as_text({"text": "a\ud800"}) == "a?"
