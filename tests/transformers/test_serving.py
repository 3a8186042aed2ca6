"""A tiny Llama under a real gateway: what the engine can do, and that it does one thing at a time."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import openai
import pytest
from openai import OpenAI

from tests.support.caller import Caller
from tests.support.gateway import Gateway, run
from tests.support.tiny_llama import CONTEXT, ENDLESS
from tests.support.waiting import wait_until
from tests.transformers.conftest import ANSWER_S, MODEL

QUESTION: Any = [{"role": "user", "content": "Hello"}]
PROMPT_TOKENS = len("<|user\nHello<|\n<|assistant\n".replace("<|", "|"))
"""one token for each letter and each special token"""
SCHEMA: Any = {
    "type": "object",
    "properties": {"a": {"enum": ["x", "y"]}, "b": {"type": "boolean"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
TOOL: Any = {"type": "function", "function": {"name": "choose", "parameters": SCHEMA}}
UNTIL_STOPPED: Any = {"messages": QUESTION, "max_tokens": CONTEXT - 1000, **ENDLESS}
"""an answer that would take hours"""


def in_flight(gateway: Gateway) -> float:
    return gateway.metrics().value("smallfirst_replica_in_flight", model=MODEL)


def test_while_it_starts_ready_says_so_and_what_it_cannot_do(gateway: Gateway) -> None:
    model = gateway.at_first.json()["models"][MODEL]
    assert model["up"] == 0
    assert "transformers starting" in model["detail"] or "preparing" in model["detail"]
    ready = gateway.http.get("/ready").json()["models"]
    assert ready[MODEL]["up"] == 1
    assert any("one request at a time" in limit for limit in ready[MODEL]["limits"])
    assert "limits" not in ready["big"]
    for step in ("loading the library's code", "ready after"):
        assert f"{MODEL}: {step}" in gateway.output
    assert f"{MODEL}: engine transformers: one request at a time" in gateway.output


def test_check_tells_the_limits(gateway: Gateway) -> None:
    done = run("check", f"--config={gateway.config}", folder=gateway.config.parent)
    assert done.returncode == 0
    [line] = [line for line in done.stderr.splitlines() if line.startswith(f"{MODEL}: ")]
    assert "engine transformers: one request at a time for each replica; " in line
    assert "no tool parser" in line


def test_a_whole_answer(client: OpenAI) -> None:
    def ask() -> Any:
        return client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=7)

    answer = ask()
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (PROMPT_TOKENS, 7)
    assert answer.choices[0].message.content
    assert ask().choices == answer.choices, "the likeliest tokens are always the same"


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI) -> None:
    same: Any = {"model": MODEL, "messages": QUESTION, "seed": 3, "max_tokens": 30}
    whole = client.chat.completions.create(**same)
    chunks = list(client.chat.completions.create(**same, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "length"
    assert len(chunks) > 20, "token by token"


def test_sampling(client: OpenAI) -> None:
    def text(**fields: Any) -> Any:
        answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=20, **fields)
        return answer.choices[0].message.content

    assert text(seed=1) == text(seed=1) != text(seed=2)
    assert text() != text()
    assert text(extra_body={"top_k": 1}) == text(temperature=0)
    assert text(logit_bias={str(ord("a") - ord("!")): 100}) == "a" * 20
    repeated = {"logit_bias": {str(ord("a") - ord("!")): 50, str(ord("b") - ord("!")): 49}, "temperature": 0}
    assert text(**repeated) == "a" * 20
    assert text(**repeated, presence_penalty=2).startswith("ab")


def test_what_ends_an_answer(client: OpenAI) -> None:
    bias: Any = {str(ord(letter) - ord("!")): 100 for letter in "a"}
    same: Any = {"model": MODEL, "messages": QUESTION, "max_tokens": 20}
    stopped = client.chat.completions.create(**same, logit_bias=bias, stop="aaa").choices[0]
    assert (stopped.message.content, stopped.finish_reason) == ("", "stop")
    ended = client.chat.completions.create(**same, logit_bias={"258": 100})
    assert (ended.choices[0].message.content, ended.choices[0].finish_reason) == ("", "stop")
    assert ended.usage is not None
    assert ended.usage.completion_tokens == 1


def test_several_choices_are_generated_one_after_the_other(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, n=3, seed=1, max_tokens=8)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (PROMPT_TOKENS, 24)


def test_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=5, logprobs=True, top_logprobs=2
    )
    assert answer.choices[0].logprobs is not None
    tokens = answer.choices[0].logprobs.content or []
    assert len(tokens) == 5
    for token in tokens:
        assert token.logprob == token.top_logprobs[0].logprob, "the likeliest"
        assert -10 < token.top_logprobs[1].logprob <= token.logprob < 0


def test_a_json_schema_is_enforced_while_it_decodes(gateway: Gateway, client: OpenAI) -> None:
    for seed in range(3):
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=QUESTION, seed=seed, max_tokens=400, response_format=FORMAT
        )
        assert raw.headers["x-smallfirst-structured"] == "decoded"
        assert raw.headers["x-smallfirst-attempts"] == "1"
        value = json.loads(raw.parse().choices[0].message.content or "")
        jsonschema_rs.validate(SCHEMA, value)
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, seed=1, max_tokens=400, response_format=FORMAT, stream=True
    )
    jsonschema_rs.validate(SCHEMA, json.loads("".join(chunk.choices[0].delta.content or "" for chunk in stream)))


@pytest.mark.parametrize(
    "format_", [{"choice": ["positive", "negative"]}, {"regex": "(positive|negative)"}], ids=["choice", "regex"]
)
def test_other_formats_are_enforced_too(client: OpenAI, format_: Any) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, logprobs=True, max_tokens=20, extra_body={"structured_outputs": format_}
    )
    [choice] = answer.choices
    assert choice.message.content in ("positive", "negative")
    assert choice.finish_reason == "stop"
    assert choice.logprobs is not None
    first, *rest = choice.logprobs.content or []
    assert first.logprob < -0.1, "two letters may be the first"
    assert all(token.logprob > -0.001 for token in rest), "the rest is certain"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "choose"}}])
def test_a_required_call(client: OpenAI, choice: Any) -> None:
    asked: Any = {"model": MODEL, "messages": QUESTION, "max_tokens": 600, "seed": 1, "parallel_tool_calls": False}
    asked |= {"tools": [TOOL], "tool_choice": choice}
    whole = client.chat.completions.create(**asked).choices[0]
    with client.chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0]
    for answer in (whole, streamed):
        assert answer.finish_reason == "tool_calls"
        [call] = answer.message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "choose"
        jsonschema_rs.validate(SCHEMA, json.loads(call.function.arguments))
    assert whole.message.tool_calls
    assert streamed.message.tool_calls
    assert whole.message.tool_calls[0].function.arguments == streamed.message.tool_calls[0].function.arguments


def test_prompt_and_answer_must_fit_together(gateway: Gateway, client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=CONTEXT)
    assert caught.value.code == "context_length_exceeded"
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=QUESTION, max_tokens=CONTEXT)
    assert (raw.headers["x-smallfirst-model"], raw.headers["x-smallfirst-reason"]) == ("big", "context")


def test_what_it_does_not_know_is_dropped_and_named(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=QUESTION, max_tokens=1, user="me", extra_body={"priority": 1}
    )
    assert raw.headers["x-smallfirst-adapted"] == "priority=dropped, user=dropped"


def test_completions_are_the_next_rungs(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError):
        client.completions.create(model=MODEL, prompt="Hello")


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_ends_when_its_client_leaves(gateway: Gateway, stream: bool) -> None:
    endless = {"model": MODEL, **UNTIL_STOPPED}
    with Caller(gateway, endless | {"stream": stream}) as first:
        wait_until(lambda: in_flight(gateway) == 1)
        with Caller(gateway, endless | {"stream": True}) as second:
            wait_until(lambda: in_flight(gateway) == 2)
            first.leave()
            # there is one turn at a time, so this answer shows that the other has ended
            second.socket.settimeout(ANSWER_S)
            second.read_until(b'"content"')
    gateway.assert_idle()


def test_a_second_request_waits_its_turn(gateway: Gateway) -> None:
    endless = {"model": MODEL, "stream": True, **UNTIL_STOPPED}
    with Caller(gateway, endless) as first, Caller(gateway, endless) as second:
        for caller in (first, second):
            caller.socket.settimeout(ANSWER_S)
        wait_until(lambda: in_flight(gateway) == 2)
        first.read_until(b'"content"')
        first.received = b""
        first.read_until(b'"content"')
        second.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.socket.recv(1)
        first.leave()
        second.socket.settimeout(ANSWER_S)
        second.read_until(b'"content"')
        second.leave()
    gateway.assert_idle()
