"""llama.cpp's server: requests as it gets them, its answers as the client gets them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.attempt.failure import classify
from router.errors import (
    ApiError,
    Misconfigured,
    Overloaded,
    StructuredOutputViolation,
    UpstreamFailed,
    UpstreamRejected,
)
from router.upstream.dialects.llamacpp import LlamaCppDialect
from tests.support.dialects import Asked, text_of
from tests.support.fakes import model
from tests.support.servers import ALLOWED, FORMAT, NAMED, SCHEMA, TIME, TOOLS, LlamaServer, tool

DIALECT = LlamaCppDialect()
CALL = '{"name": "get_time", "arguments": {"zone": "Europe/Paris"}}'


def one_call(name: str, argument: str) -> dict[str, Any]:
    parameters = tool(name, argument)["function"]["parameters"]
    properties = {"name": {"const": name}, "arguments": parameters}
    return {"type": "object", "properties": properties, "required": ["name", "arguments"]}


def refusal(status: int, message: str, **more: Any) -> ApiError:
    return DIALECT.refusal(model(engine="llamacpp"), status, LlamaServer.error(message, status, **more), None)


async def test_an_answer_and_a_stream() -> None:
    asked = Asked("llamacpp", LlamaServer.whole("Paris."), LlamaServer.stream("Pa", "ris."))
    answer = await asked.ask()
    assert (answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]) == ("Paris.", 20)
    assert text_of(await asked.stream()) == "Paris."
    assert asked.dispatching.record.attempts[-1].usage.cached == 36


@pytest.mark.parametrize(
    ("asked_for", "sent", "answer"),
    [
        ({"response_format": FORMAT}, {"json_schema": SCHEMA}, '{"city": "Paris"}'),
        ({"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}, "{}"),
        ({"guided_json": SCHEMA}, {"json_schema": SCHEMA}, '{"city": "Paris"}'),
        ({"guided_choice": ["yes", "no"]}, {"grammar": 'root ::= "yes" | "no"'}, "no"),
        ({"structured_outputs": {"regex": "^[A-Z]{2}$"}}, {"grammar": "root ::= [A-Z]{2}"}, "FR"),
        ({"guided_grammar": 'root ::= "a"'}, {"grammar": 'root ::= "a"'}, "a"),
    ],
)
async def test_formats(asked_for: dict[str, Any], sent: dict[str, Any], answer: str) -> None:
    asked = Asked("llamacpp", LlamaServer.whole(answer))
    assert (await asked.ask(**asked_for))["choices"][0]["message"]["content"] == answer
    assert asked.sent("json_schema", "grammar", "response_format", *asked_for) == sent
    assert asked.said["structured"] == "decoded"


async def test_completions_have_formats_too() -> None:
    asked = Asked("llamacpp", LlamaServer.text("{}", []))
    await asked.ask(endpoint="completions", prompt="x", response_format={"type": "json_object"})
    assert asked.sent("json_schema", "response_format") == {"json_schema": {"type": "object"}}


@pytest.mark.parametrize("asked_for", [{"guided_grammar": 'start: "a"'}, {"guided_regex": "a{2000}"}])
async def test_a_format_that_gbnf_has_not_is_described_in_the_prompt(asked_for: dict[str, Any]) -> None:
    asked = Asked("llamacpp", LlamaServer.whole("no"))
    await asked.refused(StructuredOutputViolation, **asked_for)
    assert asked.sent("grammar", "json_schema", *asked_for) == {}
    assert "Answer with nothing but" in asked.dispatching.upstream.sent[0].body["messages"][-1]["content"]


async def test_a_grammar_that_it_refuses_is_described_in_the_prompt() -> None:
    refused = LlamaServer.error("Failed to initialize samplers: failed to parse grammar")
    asked = Asked("llamacpp", (400, refused), LlamaServer.whole("a"))
    await asked.ask(guided_grammar='root ::= "a"')
    first, second = asked.dispatching.upstream.sent
    assert "grammar" in first.body
    assert "grammar" not in second.body
    assert asked.said["structured"] == "retried"


async def test_an_answer_that_breaks_its_format_does_not_leave() -> None:
    """The server ignores what it cannot write as a grammar, such as look-ahead in a pattern."""
    asked = Asked("llamacpp", LlamaServer.whole('{"city": 1}'), LlamaServer.whole('{"city": 1}'))
    await asked.refused(StructuredOutputViolation, response_format=FORMAT)


@pytest.mark.parametrize(
    ("choice", "schema"),
    [
        ("required", {"anyOf": [one_call("get_weather", "city"), one_call("get_time", "zone")]}),
        (NAMED, one_call("get_time", "zone")),
    ],
)
async def test_required_calls_are_decoded_as_json(choice: Any, schema: dict[str, Any]) -> None:
    asked = Asked("llamacpp", LlamaServer.whole(CALL))
    [choice_] = (await asked.ask(tools=TOOLS, tool_choice=choice))["choices"]
    assert choice_["finish_reason"] == "tool_calls"
    assert choice_["message"]["tool_calls"][0]["function"] == {
        "name": "get_time",
        "arguments": '{"zone":"Europe/Paris"}',
    }
    assert asked.sent("json_schema") == {"json_schema": schema}
    assert asked.sent("tool_choice", "tools") == {
        "tool_choice": "required",
        "tools": TOOLS if choice == "required" else [TIME],
    }


async def test_a_stream_of_a_required_call() -> None:
    asked = Asked("llamacpp", LlamaServer.stream(CALL[:20], CALL[20:]))
    events = await asked.stream(tools=TOOLS, tool_choice=NAMED)
    calls = [call for event in events for call in event["choices"][0]["delta"].get("tool_calls", ())]
    assert [call["function"]["name"] for call in calls] == ["get_time"]
    assert text_of(events) == ""


async def test_a_tool_whose_schema_has_references_is_required_by_name() -> None:
    """Within the schema of a call they would lead nowhere."""
    odd = tool("get_time", "zone", **{"$defs": {"a": {}}})
    odd["function"]["parameters"]["properties"]["zone"] = {"$ref": "#/$defs/a"}
    asked = Asked("llamacpp", LlamaServer.whole(CALL))
    await asked.ask(tools=[odd], tool_choice="required")
    assert asked.sent("json_schema", "tool_choice") == {"tool_choice": "required"}


async def test_only_allowed_tools_are_sent() -> None:
    asked = Asked("llamacpp", LlamaServer.whole("None is needed."))
    await asked.ask(tools=TOOLS, tool_choice=ALLOWED)
    assert asked.sent("tools", "tool_choice") == {"tools": [TIME], "tool_choice": "auto"}


async def test_a_format_beside_tools_is_described_in_the_prompt() -> None:
    asked = Asked("llamacpp", LlamaServer.whole('{"city": "Paris"}'))
    await asked.ask(tools=TOOLS, response_format=FORMAT)
    assert asked.sent("json_schema", "response_format") == {}
    assert "Unless you call a function" in asked.sent()["messages"][-1]["content"]


async def test_its_names_of_parameters() -> None:
    asked = Asked("llamacpp", LlamaServer.whole("x"))
    await asked.ask(
        messages=[{"role": "developer", "content": "a"}, {"role": "user", "content": "b"}],
        repetition_penalty=1.1, thinking_token_budget=9, top_k=3, max_completion_tokens=5, mirostat=2,
        min_tokens=2, prompt_logprobs=1, functions=None,
    )  # fmt: skip
    body = asked.sent()
    assert body["messages"][0] == {"role": "system", "content": "a"}
    kept = {"repeat_penalty": 1.1, "thinking_budget_tokens": 9, "top_k": 3, "max_completion_tokens": 5, "mirostat": 2}
    assert body.keys() == {"model", "messages", *kept}
    assert kept.items() <= body.items()
    assert asked.said["adapted"] == "functions=dropped, min_tokens=dropped, prompt_logprobs=dropped"


@pytest.mark.parametrize(
    ("asked_for", "sent"),
    [
        ({"logprobs": True}, {"logprobs": True, "top_logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 0}, {"logprobs": True, "top_logprobs": 1}),
        ({"logprobs": True, "top_logprobs": 5}, {"logprobs": True, "top_logprobs": 5}),
        ({"logprobs": False}, {"logprobs": False}),
        ({"logprobs": True, "tools": TOOLS}, {"logprobs": True, "top_logprobs": 1}),
        ({}, {}),
    ],
)
async def test_logprobs(asked_for: dict[str, Any], sent: dict[str, Any]) -> None:
    asked = Asked("llamacpp", LlamaServer.whole("x"))
    await asked.ask(**asked_for)
    assert asked.sent("logprobs", "top_logprobs") == sent


async def test_logprobs_of_a_stream_with_tools_are_left_out() -> None:
    asked = Asked("llamacpp", LlamaServer.stream("x"))
    await asked.stream(logprobs=True, top_logprobs=2, tools=TOOLS)
    assert asked.sent("logprobs", "top_logprobs") == {}
    assert asked.said["adapted"] == "logprobs=dropped, top_logprobs=dropped"


@pytest.mark.parametrize(("wanted", "sent"), [(0, 1), (3, 3)])
async def test_logprobs_of_completions_get_their_usual_form(wanted: int, sent: int) -> None:
    tokens = [LlamaServer.token(" Paris", -0.25), LlamaServer.token(".", -0.5)]
    asked = Asked("llamacpp", LlamaServer.text(" Paris.", tokens))
    answer = await asked.ask(endpoint="completions", prompt="x", logprobs=wanted)
    assert answer["choices"][0]["logprobs"] == {
        "tokens": [" Paris", "."],
        "token_logprobs": [-0.25, -0.5],
        "top_logprobs": [{" Paris": -0.25}, {".": -0.5}],
        "text_offset": [0, 6],
    }
    assert asked.sent("logprobs") == {"logprobs": sent}


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (400, LlamaServer.TOO_LONG, "context"),
        (400, "input (9 tokens) is larger than the max context size (8 tokens). skipping", "context"),
        (500, "Context size has been exceeded.", "context"),
        (400, "Unable to generate parser for this template. JSON schema error at #: unrecognized type x", "ability"),
        (400, "Failed to initialize samplers: failed to parse grammar", "ability"),
        (400, "Field 'n': Value must be between 1 <= value <= 2, but got 4", "ability"),
        (500, "image input is not supported - hint: if this is unexpected", "ability"),
        (500, "tools param requires --jinja flag", "ability"),
        (500, "Jinja Exception: Conversation roles must alternate user/assistant", "ability"),
        (501, "This server does not support completions.", "ability"),
        (503, "Loading model", "overloaded"),
        (500, "Compute error.", "upstream_error"),
        (400, "Field 'max_tokens': type must be number, but is string", "rejected"),
        (400, "'messages' is required", "rejected"),
    ],
)  # fmt: skip
def test_what_its_errors_mean(status: int, message: str, reason: str | None) -> None:
    failure = classify(refusal(status, message))
    assert failure.reason == reason
    assert failure.speaks_against_replica == (reason == "upstream_error")


def test_a_prompt_that_is_too_long_has_openais_code() -> None:
    more = {"kind": "exceed_context_size_error", "n_prompt_tokens": 5031, "n_ctx": 2048}
    error = refusal(400, LlamaServer.TOO_LONG, **more)
    assert (error.code, error.body()["error"]["type"]) == ("context_length_exceeded", "invalid_request_error")


@pytest.mark.parametrize(("status", "kind"), [(503, Overloaded), (401, Misconfigured), (500, UpstreamFailed)])
def test_other_errors_are_as_those_of_any_server(status: int, kind: type[ApiError]) -> None:
    assert type(refusal(status, "whatever")) is kind


def test_what_it_cannot_do_is_said_without_our_key() -> None:
    keyed = model(engine="llamacpp", api_key="sk-canary-1234")
    error = DIALECT.refusal(keyed, 500, LlamaServer.error("sk-canary-1234: audio input is not supported"), None)
    assert isinstance(error, UpstreamRejected)
    assert error.code == "unsupported_by_model"
    assert "sk-canary" not in json.dumps(error.body())
    assert "audio input is not supported" in error.message
