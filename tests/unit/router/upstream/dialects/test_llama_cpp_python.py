"""llama-cpp-python's server: requests as it gets them, its answers as the client gets them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import NotEligible, StructuredOutputViolation, UpstreamFailed, UpstreamRejected
from router.upstream.dialects.llama_cpp_python import LlamaCppPythonDialect, _is_safe
from tests.support.dialects import Asked, text_of
from tests.support.fakes import model
from tests.support.servers import FORMAT, NAMED, SCHEMA, TIME, TOOLS, LlamaCppPython

ENGINE = "llama-cpp-python"
DIALECT = LlamaCppPythonDialect()
CALL = '{"name": "get_time", "arguments": {"zone": "Europe/Paris"}}'
JSON_ONLY = {"type": "json_object"}


def schema_of(parameter: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": parameter}, "required": ["a"]}


async def test_an_answer_and_a_stream() -> None:
    asked = Asked(ENGINE, LlamaCppPython.whole("Paris."), LlamaCppPython.stream("Pa", "ris."))
    assert (await asked.ask())["choices"][0]["message"]["content"] == "Paris."
    assert text_of(await asked.stream()) == "Paris."
    attempt = asked.dispatching.record.attempts[-1]
    assert attempt.usage is None, "its streams have no token counts"
    assert attempt.cost_nano_usd is not None, "its hours are known"


async def test_it_gets_no_request_id_of_ours() -> None:
    """It answers 400 without a word to one that is no UUID."""
    asked = Asked(ENGINE, LlamaCppPython.whole("x"), api_key="sk-123456789")
    await asked.ask()
    headers = asked.dispatching.upstream.sent[0].headers
    assert headers == {"Content-Type": "application/json", "Authorization": "Bearer sk-123456789"}


async def test_messages_have_texts_and_known_roles() -> None:
    asked = Asked(ENGINE, LlamaCppPython.whole("x"))
    calls = [{"id": "1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}]
    await asked.ask(
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "1", "content": "noon"},
        ]
    )
    assert asked.sent()["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one\ntwo"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "1", "content": "noon"},
    ]


@pytest.mark.parametrize(
    ("asked_for", "sent", "answer"),
    [
        ({"response_format": FORMAT}, {"response_format": JSON_ONLY | {"schema": SCHEMA}}, '{"city": "Paris"}'),
        ({"response_format": JSON_ONLY}, {"response_format": JSON_ONLY}, "{}"),
        ({"guided_choice": ["yes", "no"]}, {"grammar": 'root ::= "yes" | "no"'}, "no"),
        ({"guided_regex": "[A-Z]{2}"}, {"grammar": "root ::= [A-Z]{2}"}, "FR"),
    ],
)
async def test_formats(asked_for: dict[str, Any], sent: dict[str, Any], answer: str) -> None:
    asked = Asked(ENGINE, LlamaCppPython.whole(answer))
    assert (await asked.ask(**asked_for))["choices"][0]["message"]["content"] == answer
    assert asked.sent("grammar", "response_format", "structured_outputs", *asked_for) == sent
    assert asked.said["structured"] == "decoded"


@pytest.mark.parametrize(
    "parameter",
    [
        {"type": "string", "pattern": r"^\w+\s\d{3}$"},
        {"type": "string", "maxLength": 100_000},
        {"const": 'x"y'},
        {"enum": ["a\\b"]},
        {"$ref": "#/$defs/a"},
        {"properties": {'"': {}}},
        {"items": {"minItems": 5000}},
        {"anyOf": [{"type": "string", "format": "date"}]},
        {"additionalProperties": {"type": "string"}},
    ],
)
async def test_of_a_schema_that_could_end_it_only_json_is_enforced(parameter: dict[str, Any]) -> None:
    """The first three were seen to: the process ends without a word."""
    schema = schema_of(parameter) | {"$defs": {"a": {}}}
    answers = LlamaCppPython.whole("no"), LlamaCppPython.whole("no")
    asked = Asked(ENGINE, *answers)
    await asked.refused(StructuredOutputViolation, guided_json=schema)
    assert asked.sent("response_format", "grammar") == {"response_format": JSON_ONLY}
    assert "satisfies this JSON schema" in asked.dispatching.upstream.sent[0].body["messages"][-1]["content"]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists))
def test_values_with_texts_that_it_does_not_escape_are_not_safe(value: Any) -> None:
    safe = _is_safe({"enum": [value]})
    assert safe == (value is None or isinstance(value, int) or (isinstance(value, str) and not set(value) - PLAIN))


PLAIN = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_ .,:;/@+-")


async def test_it_gets_no_grammar_of_a_client() -> None:
    asked = Asked(ENGINE, LlamaCppPython.whole("x"), LlamaCppPython.whole("a"))
    await asked.ask(grammar='root ::= "x"')
    assert asked.sent("grammar", "structured_outputs") == {}
    await asked.ask(guided_grammar='root ::= "a"')
    assert asked.sent("grammar", "structured_outputs") == {}


@pytest.mark.parametrize("choice", ["required", NAMED])
async def test_required_calls_are_decoded_as_json(choice: Any) -> None:
    asked = Asked(ENGINE, LlamaCppPython.whole(CALL))
    [answer] = (await asked.ask(tools=[TIME], tool_choice=choice))["choices"]
    assert (answer["finish_reason"], answer["message"]["content"]) == ("tool_calls", None)
    assert answer["message"]["tool_calls"][0]["function"]["name"] == "get_time"
    properties = {"name": {"const": "get_time"}, "arguments": TIME["function"]["parameters"]}
    schema = {"type": "object", "properties": properties, "required": ["name", "arguments"]}
    assert asked.sent("response_format", "tool_choice") == {"response_format": JSON_ONLY | {"schema": schema}}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_comes_twice_is_one(stream: bool) -> None:
    """As it answers with a chat format for functions."""
    function = {"name": "get_time", "arguments": '{"zone": "UTC"}'}
    calls = [{"index": 0, "id": "call__0_get_time_cmpl-1", "type": "function", "function": function}]
    twice: dict[str, Any] = {"tool_calls": calls, "function_call": function}
    if stream:
        choices = [{"delta": twice, "finish_reason": None}, {"delta": {}, "finish_reason": "tool_calls"}]
        events = [json.dumps({"id": "c", "choices": [{"index": 0, **one}]}).encode() for one in choices]
        asked = Asked(ENGINE, [*events, b"[DONE]"])
        deltas = [event["choices"][0]["delta"] for event in await asked.stream(tools=TOOLS)]
        assert [call["id"] for delta in deltas for call in delta.get("tool_calls", ())] == ["call__0_get_time_cmpl-1"]
        assert not any("function_call" in delta for delta in deltas)
    else:
        asked = Asked(ENGINE, LlamaCppPython.whole(None, "tool_calls", **twice))
        message = (await asked.ask(tools=TOOLS))["choices"][0]["message"]
        assert (message["tool_calls"], "function_call" in message) == (calls, False)


async def test_tools_that_may_not_be_called_are_not_sent() -> None:
    asked = Asked(ENGINE, LlamaCppPython.whole("x"), LlamaCppPython.whole("x"))
    await asked.ask(tools=TOOLS, tool_choice="none")
    assert asked.sent("tools", "tool_choice") == {}
    await asked.ask(tools=TOOLS, tool_choice="auto")
    assert asked.sent("tools", "tool_choice") == {"tools": TOOLS}


async def test_its_names_of_parameters() -> None:
    asked = Asked(ENGINE, LlamaCppPython.whole("x"))
    await asked.ask(max_completion_tokens=5, repetition_penalty=1.1, n=1, top_k=3, min_tokens=1, ignore_eos=True)
    kept = {"max_tokens": 5, "repeat_penalty": 1.1, "top_k": 3, "min_tokens": 1}
    assert asked.sent() == {"model": "slm", "messages": asked.sent()["messages"], **kept}
    assert asked.said["adapted"] == "ignore_eos=dropped"


@pytest.mark.parametrize(
    ("asked_for", "sent"),
    [
        ({"logprobs": True}, {"logprobs": True, "top_logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 3},) * 2,
        ({}, {}),
    ],
)
async def test_logprobs_of_a_server_that_keeps_them(asked_for: dict[str, Any], sent: dict[str, Any]) -> None:
    abilities = DIALECT.abilities | {"logprobs"}
    asked = Asked(ENGINE, LlamaCppPython.whole("x"), abilities=abilities)
    await asked.ask(**asked_for)
    assert asked.sent("logprobs", "top_logprobs") == sent


async def test_logprobs_are_no_usual_ability() -> None:
    """They need `--logits_all true`."""
    await Asked(ENGINE).refused(NotEligible, logprobs=True)


async def test_it_gives_one_answer() -> None:
    await Asked(ENGINE).refused(NotEligible, n=2)
    await Asked(ENGINE).refused(NotEligible, endpoint="completions", prompt=["a", "b"])


async def test_a_prompt_that_may_be_too_long_is_not_sent() -> None:
    """A stream of such a prompt would end without a word."""
    long = [{"role": "user", "content": "word " * 1300}]
    error = await Asked(ENGINE).refused(NotEligible, messages=long)
    assert error.code == "context_length_exceeded"


def refusal(status: int, message: str, **more: Any) -> Any:
    return DIALECT.refusal(model(engine=ENGINE), status, LlamaCppPython.error(message, **more), None)


def test_faults_of_a_request_that_come_as_faults_of_the_server() -> None:
    error = refusal(500, LlamaCppPython.VALIDATION)
    assert isinstance(error, UpstreamRejected)
    assert error.code == "unsupported_by_model"
    assert "Input should be an integer" in error.message
    assert "/home/me" not in error.message
    logits = refusal(500, "logprobs is not supported for models created with logits_all=False")
    assert logits.code == "unsupported_by_model"


def test_other_errors() -> None:
    assert isinstance(refusal(500, "llama_decode returned -3"), UpstreamFailed)
    more = {"kind": "invalid_request_error", "code": "context_length_exceeded"}
    too_long = refusal(400, "This model's maximum context length is 2048 tokens.", **more)
    assert (type(too_long), too_long.code) == (UpstreamRejected, "context_length_exceeded")
