"""SGLang, after its sources: requests as it gets them, its answers as the client gets them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.failure import classify
from router.errors import Overloaded, UpstreamFailed
from router.structured.engine import guidance
from router.upstream.dialects.sglang import SGLangDialect, _choice_regex
from tests.support.dialects import Asked, text_of
from tests.support.fakes import model
from tests.support.grammars import TAG
from tests.support.servers import ALLOWED, FORMAT, NAMED, SCHEMA, TIME, TOOLS, SGLang

DIALECT = SGLangDialect()


async def test_an_answer_and_a_stream() -> None:
    asked = Asked("sglang", SGLang.whole("Paris."), SGLang.stream("Pa", "ris."))
    assert (await asked.ask())["choices"][0]["message"]["content"] == "Paris."
    assert text_of(await asked.stream()) == "Paris."
    assert asked.dispatching.record.attempts[-1].usage.completion == 9


@pytest.mark.parametrize(
    ("asked_for", "sent", "answer"),
    [
        ({"response_format": FORMAT}, {"response_format": FORMAT}, '{"city": "Paris"}'),
        ({"guided_json": SCHEMA}, {"response_format": FORMAT}, '{"city": "Paris"}'),
        ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}, "{}"),
        ({"guided_choice": ["yes", "n.o"]}, {"regex": r"(yes|n\.o)"}, "n.o"),
        ({"guided_regex": r"\w{2}"}, {"regex": r"\w{2}"}, "FR"),
        ({"guided_grammar": 'root ::= "a"'}, {"ebnf": 'root ::= "a"'}, "a"),
        ({"guided_grammar": 'start: "a"'}, {}, "a"),
        (
            {"structured_outputs": {"structural_tag": TAG}},
            {"response_format": {"type": "structural_tag", **json.loads(TAG)}},
            "<call>1</call>",
        ),
    ],
)
async def test_formats(asked_for: dict[str, Any], sent: dict[str, Any], answer: str) -> None:
    asked = Asked("sglang", SGLang.whole(answer))
    assert (await asked.ask(**asked_for))["choices"][0]["message"]["content"] == answer
    assert asked.sent("response_format", "regex", "ebnf", *asked_for) == sent


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=3, unique=True))
def test_choices_as_a_regular_expression(choices: list[str]) -> None:
    pattern = _choice_regex(choices)
    assert all(re.fullmatch(pattern, choice) for choice in choices)
    assert all(guidance.match("regex", pattern, choice).status == "valid" for choice in choices)
    assert not re.fullmatch(pattern, "".join(choices) + "x")


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("required", {"tools": TOOLS, "tool_choice": "required"}),
        (NAMED, {"tools": [TIME], "tool_choice": "required"}),
        (ALLOWED, {"tools": [TIME], "tool_choice": "auto"}),
    ],
)
async def test_tools(choice: Any, sent: dict[str, Any]) -> None:
    function = {"name": "get_time", "arguments": '{"zone": "UTC"}'}
    call = {"id": "call_6c1f", "index": 0, "type": "function", "function": function}
    asked = Asked("sglang", SGLang.whole(None, "tool_calls", tool_calls=[call]))
    answer = await asked.ask(tools=TOOLS, tool_choice=choice)
    assert answer["choices"][0]["message"]["tool_calls"] == [call]
    assert asked.sent("tools", "tool_choice") == sent


async def test_its_names_of_parameters() -> None:
    asked = Asked("sglang", SGLang.whole("x"))
    await asked.ask(
        messages=[{"role": "developer", "content": "a"}, {"role": "user", "content": "b"}],
        include_stop_str_in_output=True, top_k=3, min_tokens=1, repetition_penalty=1.1, stop_regex="x",
        bad_words=["y"], truncate_prompt_tokens=5,
    )  # fmt: skip
    kept = {"no_stop_trim": True, "top_k": 3, "min_tokens": 1, "repetition_penalty": 1.1, "stop_regex": "x"}
    body = asked.sent()
    assert body == {"model": "slm", "messages": body["messages"], **kept}
    assert body["messages"][0]["role"] == "system"
    assert asked.said["adapted"] == "bad_words=dropped, truncate_prompt_tokens=dropped"


async def test_an_answer_that_it_aborted_is_none() -> None:
    aborted = SGLang.whole("Par", "abort")
    error = await Asked("sglang", aborted, aborted).refused(UpstreamFailed)
    assert "aborted" in error.message


async def test_a_stream_that_it_aborts_ends_with_an_error() -> None:
    asked = Asked("sglang", SGLang.stream("Pa", finish="abort"))
    got, error = await asked.dispatching.breaks(UpstreamFailed)
    assert len(got) == 2
    assert "aborted" in error.message


async def test_an_error_within_a_stream() -> None:
    events = [*SGLang.stream("Pa")[:2], SGLang.error_event("The request is aborted.", "SERVICE_UNAVAILABLE", 503)]
    _, error = await Asked("sglang", events).dispatching.breaks(Overloaded)
    assert "The request is aborted." in error.message


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (400, "The input (9000 tokens) is longer than the model's context length (8192 tokens).", "context"),
        (400, "Requested token count exceeds the model's maximum context length of 8192 tokens.", "context"),
        (400, "Input length (9000 tokens) exceeds the maximum allowed length (8186 tokens). Use a shorter", "context"),
        (400, "max_completion_tokens is too large: 9999.This model supports at most 8192 completion", "context"),
        (400, "Failed to compile json_schema grammar: Unsupported type", "ability"),
        (400, "Grammar-based generation (json_schema, regex, ebnf, structural_tag) is not supported when", "ability"),
        (400, "image input is not supported for this model", "ability"),
        (503, "The request queue is full.", "overloaded"),
        (500, "Internal server error: CUDA out of memory", "upstream_error"),
        (400, "1 validation error for ChatCompletionRequest", "rejected"),
        (400, "Messages cannot be empty.", "rejected"),
    ],
)  # fmt: skip
def test_what_its_errors_mean(status: int, message: str, reason: str | None) -> None:
    error = DIALECT.refusal(model(engine="sglang"), status, SGLang.error(message, "BadRequest", status), None)
    failure = classify(error)
    assert failure.reason == reason
    assert failure.speaks_against_replica == (reason == "upstream_error")
    if status == 400 and reason != "ability":
        assert error.body()["error"]["type"] == "invalid_request_error"


async def test_a_schema_that_it_refuses_is_described_in_the_prompt() -> None:
    refused = SGLang.error("Failed to compile json_schema grammar: Unsupported type")
    asked = Asked("sglang", (400, refused), SGLang.whole('{"city": "Paris"}'))
    await asked.ask(response_format=FORMAT)
    assert asked.sent("response_format") == {}
    assert asked.said["structured"] == "retried"


async def test_tools_whose_schema_it_refuses_are_required_in_the_prompt() -> None:
    refused = SGLang.error("Failed to compile structural_tag grammar: x")
    call = '{"name": "get_time", "arguments": {"zone": "UTC"}}'
    asked = Asked("sglang", (400, refused), SGLang.whole(call))
    await asked.ask(tools=TOOLS, tool_choice="required")
    assert asked.sent("tool_choice") == {"tool_choice": "required"}
    functions = [tool["function"] for tool in asked.sent("tools")["tools"]]
    assert all(function["parameters"] == {"type": "object", "properties": {}} for function in functions)
    assert all("JSON schema" in function["description"] for function in functions)
    assert asked.said["adapted"] == "tools.0=unchecked, tools.1=unchecked"
