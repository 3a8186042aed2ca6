"""What reaches the upstream: all that the client said, our key, nothing of the client's."""

from __future__ import annotations

import json

import pytest

from tests.support.behaviours import answer
from tests.support.lanes import UPSTREAM_KEY, UPSTREAM_MODEL, Lane, Plan, usual


def describe(plan: Plan) -> None:
    usual(plan)
    plan.slm("renamed", upstream_model="org/other-name", api_key="sk-for-the-slm")


VLLM_ONLY = {
    "top_k": 20,
    "min_p": 0.05,
    "repetition_penalty": 1.1,
    "chat_template_kwargs": {"enable_thinking": False},
    "cache_salt": "x",
    "priority": -3,
    "ignore_eos": False,
    "min_tokens": 1,
}
DOCUMENTED = {
    "temperature": 0.7,
    "top_p": 0.9,
    "seed": 7,
    "stop": ["\n", "END"],
    "presence_penalty": 0.1,
    "frequency_penalty": -0.1,
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "top_logprobs": 3,
    "n": 1,
    "user": "u-1",
    "metadata": {"a": "b"},
    "store": False,
    "service_tier": "auto",
    "reasoning_effort": "low",
    "verbosity": "low",
    "safety_identifier": "s",
    "prompt_cache_key": "k",
    "prediction": {"type": "content", "content": "x"},
    "modalities": ["text"],
    "parallel_tool_calls": False,
}
UNKNOWN = {
    "some_new_field": {"deep": [1, 2.5, None, True, "é\u2028\U0001f600", {"x": []}]},
    "a_big_integer": 2**80,
    "a_negative_big_integer": -(2**63) - 1,
    "a_float_with_a_whole_value": 1.0,
    "a_small_float": 1e-7,
}


def test_vllm_gets_every_field_untouched(lane: Lane) -> None:
    sent = lane.body(**VLLM_ONLY, **DOCUMENTED, **UNKNOWN)
    assert lane.post("/v1/chat/completions", json.dumps(sent)).status_code == 200
    got = lane.slm.last.json
    assert got == sent | {"model": lane.name("slm")}
    assert repr(got["a_float_with_a_whole_value"]) == "1.0"
    assert list(got) == list(sent), "fields keep their order"


def test_completions_fields_are_untouched_too(lane: Lane) -> None:
    fields = {"prompt": [1, 2, 3], "echo": True, "best_of": 1, "logprobs": 2, "min_tokens": 1}
    assert lane.complete(**fields).status == 200
    assert lane.slm.last.path == "v1/completions"
    assert lane.slm.last.json == {"model": lane.name("slm")} | fields


def test_routing_stays_here(lane: Lane) -> None:
    lane.chat(routing={"policy": "fixed", "allow_fallback": True, "deadline_ms": 5000})
    assert "routing" not in lane.slm.last.json


def test_the_model_gets_its_upstream_name(lane: Lane) -> None:
    lane.chat("renamed")
    assert lane.site("renamed").last.json["model"] == "org/other-name"
    lane.chat("llm")
    assert lane.llm.last.json["model"] == UPSTREAM_MODEL


def test_an_openai_upstream_is_spared_what_only_vllm_knows(lane: Lane) -> None:
    reply = lane.chat("llm", **VLLM_ONLY, **DOCUMENTED)
    assert reply.status == 200
    assert lane.llm.last.json == lane.body(**DOCUMENTED) | {"model": UPSTREAM_MODEL}
    assert set(reply.said("adapted").split(", ")) == {f"{name}=dropped" for name in VLLM_ONLY}


def test_nothing_dropped_nothing_said(lane: Lane) -> None:
    assert "x-smallfirst-adapted" not in lane.chat(**VLLM_ONLY).headers
    assert "x-smallfirst-adapted" not in lane.chat("llm", **DOCUMENTED).headers


def test_unknown_fields_reach_an_openai_upstream(lane: Lane) -> None:
    lane.chat("llm", **UNKNOWN)
    assert {key: lane.llm.last.json[key] for key in UNKNOWN} == UNKNOWN


def test_a_streams_dropped_fields_are_named_in_its_headers(lane: Lane) -> None:
    streamed = lane.stream("llm", top_k=5)
    assert streamed.said("adapted") == "top_k=dropped"
    assert "top_k" not in lane.llm.last.json


def test_our_key_and_never_the_clients(lane: Lane) -> None:
    headers = {
        "authorization": "Bearer sk-of-the-client",
        "api-key": "sk-of-the-client",
        "x-api-key": "sk-of-the-client",
        "cookie": "session=sk-of-the-client",
        "openai-organization": "org-of-the-client",
    }
    for model, key in (("llm", UPSTREAM_KEY), ("renamed", "sk-for-the-slm"), ("slm", None)):
        assert lane.chat(model, headers=headers).status == 200
        call = lane.site(model).last
        assert call.header("authorization") == (f"Bearer {key}" if key else None)
        assert "of-the-client" not in str(call.headers)


def test_the_request_as_such(lane: Lane) -> None:
    lane.chat()
    call = lane.slm.last
    assert (call.method, call.path) == ("POST", "v1/chat/completions")
    assert call.header("content-type") == "application/json"
    assert call.header("content-length") == str(len(call.body))
    assert call.header("accept-encoding") in (None, "identity"), "a compressed stream would be held back"


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("model", ["slm", "llm"])
def test_both_names_of_the_limit_are_forwarded(lane: Lane, model: str, name: str) -> None:
    lane.chat(model, **{name: 7})
    got = lane.site(model).last.json
    assert [got.get("max_tokens"), got.get("max_completion_tokens")].count(7) >= 1


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_developer_is_system_for_a_chat_template(lane: Lane) -> None:
    messages = [
        {"role": "developer", "content": "Be brief.", "name": "dev"},
        {"role": "user", "content": [{"type": "text", "text": "developer"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]
    assert lane.chat("slm", messages=messages).status == 200
    assert lane.slm.last.json["messages"] == [messages[0] | {"role": "system"}, *messages[1:]]
    lane.chat("llm", messages=messages)
    assert lane.llm.last.json["messages"] == messages


def test_tools_go_through_both_ways(lane: Lane) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}]
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    lane.slm.then(answer(None, message={"tool_calls": [call]}, finish="tool_calls"))
    choice = lane.chat(tools=tools, tool_choice="required").json["choices"][0]
    assert lane.slm.last.json["tools"] == tools
    assert lane.slm.last.json["tool_choice"] == "required"
    assert choice["message"]["tool_calls"] == [call]
    assert choice["message"]["content"] is None
    assert choice["finish_reason"] == "tool_calls"


def test_a_stream_always_asks_for_usage_and_keeps_the_clients_options(lane: Lane) -> None:
    lane.stream()
    assert lane.slm.last.json["stream_options"] == {"include_usage": True}
    lane.stream(stream_options={"include_usage": False, "include_obfuscation": False})
    assert lane.slm.last.json["stream_options"] == {"include_usage": True, "include_obfuscation": False}


def test_a_whole_answer_has_no_stream_options(lane: Lane) -> None:
    lane.chat(stream=False)
    assert "stream_options" not in lane.slm.last.json


def test_connections_are_used_again(lane: Lane) -> None:
    for _ in range(5):
        assert lane.chat().status == 200
    _, *others = lane.slm.calls
    assert all(call.came_behind_another for call in others), "no further connection was opened"
