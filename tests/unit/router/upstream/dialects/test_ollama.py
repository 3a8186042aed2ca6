"""Ollama, after its documents and sources: requests as it gets them, its answers as the client gets them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.attempt.failure import classify
from router.errors import NotEligible, StructuredOutputViolation
from router.upstream.dialects.ollama import OllamaDialect
from tests.support.dialects import Asked, text_of
from tests.support.fakes import model
from tests.support.servers import ALLOWED, FORMAT, NAMED, SCHEMA, TIME, TOOLS, LlamaServer, Ollama

DIALECT = OllamaDialect()
FUNCTION = {"name": "get_time", "arguments": '{"zone":"UTC"}'}


async def test_an_answer_and_a_stream() -> None:
    stream = Ollama.stream({"reasoning": "Well."}, {"content": "Pa"}, {"content": "ris."})
    asked = Asked("ollama", Ollama.whole("Paris."), stream)
    answer = await asked.ask()
    assert (answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]) == ("Paris.", 9)
    events = await asked.stream()
    assert text_of(events) == "Paris."
    assert events[0]["choices"][0]["delta"]["reasoning_content"] == "Well."
    assert asked.sent("stream_options") == {"stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("asked_for", "sent", "adapted"),
    [
        ({"max_completion_tokens": 5}, {"max_tokens": 5}, ""),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {"max_tokens": 5}, ""),
        ({"n": 1, "temperature": 0, "seed": 3, "stop": ["x"]}, {"temperature": 0, "seed": 3, "stop": ["x"]}, ""),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}, ""),
        ({"top_k": 3, "user": "me", "logit_bias": {}}, {}, "logit_bias=dropped, top_k=dropped, user=dropped"),
        ({"logprobs": True, "top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, ""),
        ({"tools": TOOLS}, {"tools": TOOLS}, ""),
        ({"tools": TOOLS, "tool_choice": "auto"}, {"tools": TOOLS}, ""),
        ({"tools": TOOLS, "tool_choice": "none"}, {}, ""),
        ({"tools": TOOLS, "tool_choice": ALLOWED}, {"tools": [TIME]}, "tool_choice=dropped"),
        ({"tools": TOOLS, "parallel_tool_calls": False}, {"tools": TOOLS}, "parallel_tool_calls=dropped"),
    ],
)
async def test_fields(asked_for: dict[str, Any], sent: dict[str, Any], adapted: str) -> None:
    """What it does not know it would ignore without a word."""
    asked = Asked("ollama", Ollama.whole("x"))
    await asked.ask(**asked_for)
    body = asked.sent()
    assert body == {"model": "slm", "messages": body["messages"], **sent}
    assert asked.said.get("adapted", "") == adapted


async def test_fields_of_completions() -> None:
    answer = {"id": "cmpl-1", "choices": [{"text": " Paris", "index": 0, "finish_reason": "stop"}]}
    asked = Asked("ollama", json.dumps(answer).encode())
    await asked.ask(endpoint="completions", prompt=["The capital is"], suffix="!", echo=True, best_of=1)
    assert asked.sent() == {"model": "slm", "prompt": "The capital is", "suffix": "!"}
    assert asked.said["adapted"] == "best_of=dropped, echo=dropped"


@pytest.mark.parametrize(
    ("asked_for", "sent", "answer"),
    [
        ({"response_format": FORMAT}, {"response_format": FORMAT}, '{"city": "Paris"}'),
        ({"guided_json": SCHEMA}, {"response_format": FORMAT}, '{"city": "Paris"}'),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}, "{}"),
        ({"guided_choice": ["yes", "no"]}, {}, "no"),
        ({"guided_regex": "[A-Z]{2}"}, {}, "FR"),
    ],
)
async def test_formats(asked_for: dict[str, Any], sent: dict[str, Any], answer: str) -> None:
    asked = Asked("ollama", Ollama.whole(answer))
    assert (await asked.ask(**asked_for))["choices"][0]["message"]["content"] == answer
    assert asked.sent("response_format", *asked_for) == sent
    assert ("Answer with" in asked.sent()["messages"][-1]["content"]) == (not sent)


@pytest.mark.parametrize("choice", ["required", NAMED])
async def test_a_required_call_is_asked_for_in_the_prompt_and_checked(choice: Any) -> None:
    call = {"id": "call_px63ad04", "index": 0, "type": "function", "function": FUNCTION}
    asked = Asked("ollama", Ollama.whole("Noon."), Ollama.whole("", "tool_calls", tool_calls=[call]))
    answer = await asked.ask(tools=TOOLS, tool_choice=choice)
    assert answer["choices"][0]["message"]["tool_calls"] == [call]
    assert asked.said["structured"] == "retried"
    assert asked.said["adapted"] == "tool_choice=dropped"
    first = asked.dispatching.upstream.sent[0].body
    assert first["tools"] == (TOOLS if choice == "required" else [TIME])
    assert "Answer with a call of one of these functions" in first["messages"][-1]["content"]


async def test_calls_without_or_with_the_same_ids_get_ids() -> None:
    calls = [{"id": "", "index": index, "type": "function", "function": FUNCTION} for index in (0, 1)]
    asked = Asked("ollama", Ollama.whole("", "stop", tool_calls=calls))
    made = (await asked.ask(tools=TOOLS))["choices"][0]["message"]["tool_calls"]
    assert len({call["id"] for call in made}) == 2
    assert all(call["id"] for call in made)


async def test_a_stream_of_calls() -> None:
    call = {"id": "call_1", "index": 0, "type": "function", "function": FUNCTION}
    asked = Asked("ollama", Ollama.stream({"tool_calls": [call]}, finish="tool_calls"))
    events = await asked.stream(tools=TOOLS)
    [made] = [one for event in events for one in event["choices"][0]["delta"].get("tool_calls", ())]
    assert (made["id"], made["function"]) == ("call_1", FUNCTION)


async def test_it_gives_one_answer() -> None:
    error = await Asked("ollama").refused(NotEligible, n=2)
    assert (error.code, error.param) == ("unsupported_by_model", "n")


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": "word " * 1300}]},
        {"messages": [{"role": "user", "content": "字" * 2100}]},
        {"tools": [{**TIME, "description": "x" * 6000}]},
    ],
)
async def test_a_prompt_that_it_would_cut_is_not_sent(fields: dict[str, Any]) -> None:
    error = await Asked("ollama").refused(NotEligible, **fields)
    assert error.code == "context_length_exceeded"


async def test_a_prompt_that_should_fit_is_sent() -> None:
    asked = Asked("ollama", Ollama.whole("x"))
    await asked.ask(messages=[{"role": "user", "content": "word " * 1100}], max_tokens=100)


NESTED = json.dumps({"error": {"code": 400, "message": LlamaServer.TOO_LONG, "type": "exceed_context_size_error"}})


@pytest.mark.parametrize(
    ("status", "message", "reason", "shown"),
    [
        (400, NESTED, "context", LlamaServer.TOO_LONG),
        (400, "the input length exceeds the context length", "context", ""),
        (400, "registry.ollama.ai/library/gemma3:4b does not support tools", "ability", ""),
        (400, '"gemma3:4b" does not support thinking', "ability", ""),
        (400, "image URLs are not currently supported, please use base64 encoded data instead", "ability", ""),
        (400, "json: cannot unmarshal array into Go struct field .prompt of type string", "ability", ""),
        (500, "invalid JSON schema in format", "ability", ""),
        (500, "Failed to initialize samplers: failed to parse grammar", "ability", ""),
        (503, "server busy, please try again.  maximum pending requests exceeded", "overloaded", ""),
        (500, "llama runner process has terminated: exit status 2", "upstream_error", ""),
        (404, "model 'nope' not found", "misconfigured", "the upstream does not know"),
        (400, "[] is too short - 'messages'", "rejected", ""),
    ],
)  # fmt: skip
def test_what_its_errors_mean(status: int, message: str, reason: str | None, shown: str) -> None:
    error = DIALECT.refusal(model(engine="ollama"), status, Ollama.error(message), None)
    failure = classify(error)
    assert failure.reason == reason
    assert failure.speaks_against_replica == (reason == "upstream_error")
    assert (shown or message) in error.message


async def test_a_schema_that_it_refuses_is_described_in_the_prompt() -> None:
    refused = Ollama.error("invalid JSON schema in format", "api_error")
    asked = Asked("ollama", (500, refused), Ollama.whole('{"city": "Paris"}'))
    await asked.ask(response_format=FORMAT)
    assert asked.sent("response_format") == {}


async def test_an_answer_that_breaks_its_format_does_not_leave() -> None:
    asked = Asked("ollama", Ollama.whole("no"), Ollama.whole("no"))
    await asked.refused(StructuredOutputViolation, response_format=FORMAT)
