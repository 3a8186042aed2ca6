"""What clients ask for, in every spelling: forwarded, adapted and said so, or one clear error of ours."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from openai import OpenAI

from tests.support.behaviours import answer
from tests.support.images import png
from tests.support.lanes import QUESTION, Lane, Plan, usual

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
VALID, INVALID = '{"name": "Ann"}', '{"name": 3}'
BOTH = pytest.mark.parametrize("model", ["slm", "llm"])


def describe(plan: Plan) -> None:
    usual(plan)
    plan.llm("seeing", abilities=["image", "tools", "structured"])


def tool(name: str, parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def with_calls(*arguments: Any) -> dict[str, Any]:
    """Return a history with one call, and its result, for each of these arguments."""
    history: list[Any] = list(QUESTION)
    for i, one in enumerate(arguments):
        called = {"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": one}}
        history += [
            {"role": "assistant", "content": None, "tool_calls": [called]},
            {"role": "tool", "tool_call_id": f"c{i}", "content": "done"},
        ]
    return {"messages": history}


# --- the history


@BOTH
def test_a_call_without_arguments_poisons_no_later_turn(lane: Lane, model: str) -> None:
    reply = lane.chat(model, **with_calls("", None, {"a": 1}, '{"b": 2}'))
    assert reply.status == 200
    changed = "messages.1.tool_calls.0.arguments={}, messages.3.tool_calls.0.arguments={}"
    assert reply.said("adapted") == f"{changed}, messages.5.tool_calls.0.arguments=text"
    calls = [message["tool_calls"][0] for message in lane.site(model).last.json["messages"] if "tool_calls" in message]
    assert [json.loads(call["function"]["arguments"]) for call in calls] == [{}, {}, {"a": 1}, {"b": 2}]


@pytest.mark.parametrize("arguments", ["[]", '"x"', '{"a": '])
def test_a_call_that_cannot_be_read_is_one_clear_error(lane: Lane, arguments: str) -> None:
    for _ in range(10):
        reply = lane.chat(**with_calls("{}", arguments))
        assert (reply.status, reply.error["param"]) == (400, "messages[3].tool_calls[0].function.arguments")
        assert "messages[3].tool_calls[0]" in reply.error["message"]
    assert not lane.used, "nothing is held against a replica"
    assert lane.chat().status == 200


# --- absent, null and empty


@BOTH
def test_empty_fields_reach_no_upstream(lane: Lane, model: str) -> None:
    history = [{"role": "assistant", "content": "Hi.", "tool_calls": None, "function_call": None, "annotations": []}]
    reply = lane.chat(
        model,
        messages=[*history, *QUESTION],
        tools=[],
        functions=[],
        tool_choice="auto",
        stop=[],
        logit_bias={},
        temperature=None,
        response_format=None,
    )
    assert reply.status == 200
    assert "x-smallfirst-adapted" not in reply.headers
    sent = lane.site(model).last.json
    assert sent.keys() == {"model", "messages"}
    assert sent["messages"][0] == {"role": "assistant", "content": "Hi."}


# --- messages, tools and text completions, as the API documents them

EVERY_ROLE: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief.", "name": "rules"},
    {"role": "system", "content": [{"type": "text", "text": "Be kind."}]},
    {"role": "user", "content": "a", "name": "Ann"},
    {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": "c"}]},
    {"role": "assistant", "content": "d"},
    {"role": "assistant", "content": [{"type": "text", "text": "e"}, {"type": "refusal", "refusal": "no"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "1"}]},
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "function", "name": "f", "content": "2"},
    {"role": "user", "content": ""},
    {"role": "user", "content": "g"},
]


@BOTH
def test_every_role_and_kind_of_content_is_forwarded(lane: Lane, model: str) -> None:
    developer = {"role": "developer", "content": "h"}
    reply = lane.chat(model, messages=[developer, *EVERY_ROLE])
    assert (reply.status, "x-smallfirst-adapted" in reply.headers) == (200, False)
    role = "system" if model == "slm" else "developer"
    assert lane.site(model).last.json["messages"] == [developer | {"role": role}, *EVERY_ROLE]


def test_one_call_at_most_if_the_client_wants_no_more(lane: Lane) -> None:
    calls = [{"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": VALID}} for i in range(2)]
    lane.slm.always(answer(None, message={"tool_calls": calls}, finish="tool_calls"))
    lane.llm.always(answer(None, message={"tool_calls": calls[:1]}, finish="tool_calls"))
    reply = lane.chat(tools=[tool("f", SCHEMA)], parallel_tool_calls=False)
    lane.assert_escalated(reply, "structured", attempts=3)
    assert len(reply.json["choices"][0]["message"]["tool_calls"]) == 1


def test_tools_of_another_kind_are_refused_by_name(lane: Lane) -> None:
    reply = lane.chat(tools=[{"type": "custom", "custom": {"name": "f"}}])
    assert (reply.status, reply.error["param"]) == (400, "tools[0].type")


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ["a"]},
        {"prompt": [1, 2, 3]},
        {"prompt": [[1, 2, 3]]},
        {"prompt": "a", "echo": True, "max_tokens": 0, "logprobs": 0},
        {"prompt": "a", "best_of": 1, "n": 1, "seed": 7, "stop": ["a", "b", "c", "d"]},
        {"prompt": "def f(", "suffix": "return x"},
    ],
    ids=str,
)
def test_a_text_completion_is_forwarded(lane: Lane, fields: dict[str, Any]) -> None:
    assert lane.complete("slm", **fields).status == 200
    assert lane.slm.last.json == {"model": lane.name("slm"), **fields}


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"suffix": 5}, "suffix"), ({"best_of": 1, "n": 2}, "best_of"), ({"stop": ["a"] * 5}, "stop")],
)
def test_what_no_text_completion_may_ask_is_refused_by_name(lane: Lane, fields: dict[str, Any], param: str) -> None:
    reply = lane.complete("slm", **fields)
    assert (reply.status, reply.error["param"]) == (400, param)
    assert not lane.used


# --- formats and schemas in other spellings

SPELLINGS: dict[str, dict[str, Any]] = {
    "schema in json_object": {"response_format": {"type": "json_object", "schema": SCHEMA}},
    "schema without its wrapper": {"response_format": {"type": "json_schema", "schema": SCHEMA}},
    "wrapper that is the schema": {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
    "wrapper without a name": {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
    "llama.cpp": {"json_schema": SCHEMA},
    "Ollama": {"format": SCHEMA},
    "Responses": {"text": {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_schema_in_any_spelling_is_enforced(lane: Lane, spelling: str) -> None:
    lane.slm.always(answer(INVALID))
    lane.llm.always(answer(VALID))
    reply = lane.chat(**SPELLINGS[spelling])
    assert (reply.status, reply.text, reply.said("model")) == (200, VALID, lane.name("llm"))
    for site in (lane.slm, lane.llm):
        sent = site.last.json
        assert sent["response_format"]["type"] == "json_schema"
        assert sent["response_format"]["json_schema"]["schema"] == SCHEMA
        assert sent["response_format"]["json_schema"]["name"]
        assert not sent.keys() & {"json_schema", "format", "text"}


@pytest.mark.parametrize(
    ("fields", "valid", "invalid"),
    [({"regex": "[a-c]+"}, "abc", "xyz"), ({"grammar": 'root ::= "yes" | "no"'}, "yes", "maybe")],
)
def test_texts_of_other_servers_are_enforced(lane: Lane, fields: dict[str, Any], valid: str, invalid: str) -> None:
    lane.slm.always(answer(invalid))
    lane.llm.always(answer(valid))
    reply = lane.chat(**fields)
    assert (reply.status, reply.text) == (200, valid)
    assert "structured_outputs" in lane.slm.last.json


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "text", "schema": SCHEMA}}, "response_format.type"),
        ({"format": "yaml"}, "format"),
        ({"extra_body": {"guided_json": SCHEMA}}, "extra_body.guided_json"),
        ({"format": SCHEMA, "response_format": {"type": "json_object"}}, "format"),
    ],
)
def test_a_format_that_cannot_be_read_is_an_error_that_names_it(lane: Lane, fields: Any, param: str) -> None:
    reply = lane.chat(**fields)
    assert (reply.status, reply.error["param"]) == (400, param)
    assert not lane.used


@BOTH
def test_a_schema_of_another_dialect_is_read_as_meant(lane: Lane, model: str) -> None:
    written = {"type": "object", "properties": {"a": {"type": "STRING", "nullable": True}}, "required": ["a"]}
    lane.site(model).always(answer('{"a": null}'))
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": written, "strict": True}}
    reply = lane.chat(model, response_format=wanted)
    assert (reply.status, reply.text, reply.said("attempts")) == (200, '{"a": null}', "1")
    assert reply.said("adapted") == "response_format=rewritten"
    sent = lane.site(model).last.json["response_format"]["json_schema"]
    assert sent["schema"]["properties"] == {"a": {"type": ["string", "null"]}}
    assert (sent["name"], sent["strict"]) == ("x", True)


@BOTH
@pytest.mark.parametrize("choice", ["auto", "required"])
def test_one_unusable_tool_does_not_stop_the_others(lane: Lane, model: str, choice: str) -> None:
    bounded = {"type": "object", "properties": {"n": {"type": "number", "minimum": 1, "exclusiveMinimum": True}}}
    tools = [tool("f", SCHEMA), tool("g", bounded), tool("h", {"type": "nonsense"})]
    called = {"id": "c", "type": "function", "function": {"name": "h", "arguments": '{"any": 1}'}}
    lane.site(model).always(answer(None, message={"tool_calls": [called]}, finish="tool_calls"))
    reply = lane.chat(model, tools=tools, tool_choice=choice)
    assert reply.status == 200
    assert reply.said("adapted") == "tools.1=rewritten, tools.2=unchecked"
    sent = lane.site(model).last.json["tools"]
    assert sent[1]["function"]["parameters"]["properties"]["n"] == {"type": "number", "exclusiveMinimum": 1}
    assert (sent[0], sent[2]) == (tools[0], tools[2])


def test_the_others_are_still_checked(lane: Lane) -> None:
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": INVALID}}
    lane.slm.always(answer(None, message={"tool_calls": [called]}, finish="tool_calls"))
    lane.assert_escalated(
        lane.chat(tools=[tool("f", SCHEMA), tool("h", {"type": "nonsense"})]), "structured", attempts=3
    )


# --- formats of strings

DUE = {"type": "object", "properties": {"due": {"type": "string", "format": "date-time"}}, "required": ["due"]}
WITHOUT_OFFSET, WITH_OFFSET = '{"due": "2026-01-31T12:00:00"}', '{"due": "2026-01-31T12:00:00Z"}'


@BOTH
def test_a_model_is_told_that_a_time_has_an_offset(lane: Lane, model: str) -> None:
    """It is told at once, and again if it did not listen."""
    lane.site(model).then(answer(WITHOUT_OFFSET), answer(WITH_OFFSET))
    reply = lane.chat(model, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": DUE}})
    assert (reply.status, reply.text) == (200, WITH_OFFSET)
    assert reply.said("adapted") == "response_format=described"
    first, second = [call.json for call in lane.site(model).calls]
    assert "offset" in first["response_format"]["json_schema"]["schema"]["properties"]["due"]["description"]
    assert "with its offset from UTC" in second["messages"][-1]["content"]


def test_a_tool_is_told_too(lane: Lane) -> None:
    lane.chat(tools=[tool("f", DUE)])
    described = lane.slm.last.json["tools"][0]["function"]["parameters"]["properties"]["due"]
    assert "offset" in described["description"]


# --- images


def picture(url: str, detail: str = "auto") -> list[dict[str, Any]]:
    part = {"type": "image_url", "image_url": {"url": url, "detail": detail}}
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]


def test_a_request_may_have_24_megabytes_of_images(lane: Lane) -> None:
    reply = lane.chat("seeing", messages=picture(png(4000, 3000) + "A" * (24 * 2**20)))
    assert reply.status == 200
    assert len(lane.site("seeing").last.body) > 24 * 2**20


def test_the_limit_on_a_request_is_64_megabytes(lane: Lane) -> None:
    body = json.dumps(lane.body("seeing", messages=picture(png(4, 4) + "A" * (64 * 2**20))))
    response = lane.post("/v1/chat/completions", body)
    assert response.status_code == 413
    assert str(64 * 2**20) in response.json()["error"]["message"]
    assert not lane.used


@pytest.mark.parametrize(
    ("image", "most_usd", "status"),
    [
        ((png(512, 512), "auto"), 0.0008, 200),  # 255 tokens of 0.40 USD a million, beside the text and the answer
        ((png(2048, 1024), "auto"), 0.0008, 200),
        ((png(512, 512) + "A" * 100_000, "auto"), 0.0008, 200),
        (("https://example.com/a.png", "low"), 0.0008, 200),
        (("https://example.com/a.png", "auto"), 0.0010, 200),
        (("https://example.com/a.png", "auto"), 0.0003, 400),
    ],
)
def test_an_image_has_a_bounded_price(lane: Lane, image: tuple[str, str], most_usd: float, status: int) -> None:
    routing = {"max_cost_usd": most_usd}
    reply = lane.chat("seeing", messages=picture(*image), max_tokens=10, routing=routing)
    assert reply.status == status
    if status == 400:
        assert reply.error["code"] == "max_cost_exceeded"
        assert "the prompt alone" in reply.error["message"]


# --- documented values


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
@BOTH
def test_a_limit_of_zero_is_forwarded(lane: Lane, model: str, field: str) -> None:
    assert lane.chat(model, **{field: 0}).status == 200
    assert lane.site(model).last.json[field] == 0


def test_best_of_zero_is_forwarded(lane: Lane) -> None:
    assert lane.complete("slm", best_of=0).status == 200
    assert lane.slm.last.json["best_of"] == 0


ALL_PARAMETERS: dict[str, Any] = {
    "messages": [{"content": "string", "role": "developer", "name": "name"}],
    "audio": {"format": "wav", "voice": "alloy"},
    "frequency_penalty": -2,
    "function_call": "none",
    "functions": [{"name": "name", "description": "description", "parameters": {"foo": "bar"}}],
    "logit_bias": {"foo": 0},
    "logprobs": True,
    "max_completion_tokens": 0,
    "max_tokens": 0,
    "metadata": {"foo": "string"},
    "modalities": ["text"],
    "moderation": {"model": "model"},
    "n": 1,
    "parallel_tool_calls": True,
    "prediction": {"content": "string", "type": "content"},
    "presence_penalty": -2,
    "prompt_cache_key": "prompt-cache-key-1234",
    "prompt_cache_options": {"mode": "explicit"},
    "prompt_cache_retention": "in_memory",
    "reasoning_effort": "none",
    "response_format": {"type": "text"},
    "safety_identifier": "safety-identifier-1234",
    "seed": -9007199254740991,
    "service_tier": "auto",
    "stop": "\n",
    "store": True,
    "stream_options": {"include_obfuscation": True, "include_usage": True},
    "temperature": 1,
    "tool_choice": "none",
    "tools": [
        {
            "type": "function",
            "function": {"name": "name", "description": "d", "parameters": {"foo": "bar"}, "strict": True},
        }
    ],
    "top_logprobs": 0,
    "top_p": 1,
    "user": "user-1234",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}


@BOTH
@pytest.mark.parametrize("stream", [False, True])
def test_every_parameter_of_the_sdk_at_once(lane: Lane, model: str, stream: bool) -> None:
    """The values are those of the SDK's own test."""
    with OpenAI(base_url=f"{lane.gateway.url}/v1", api_key="x", max_retries=0) as client:
        known = set(inspect.signature(client.chat.completions.create).parameters)
        options = {"model", "stream", "extra_headers", "extra_query", "extra_body", "timeout"}
        assert known - options == set(ALL_PARAMETERS)
        reply = client.chat.completions.create(model=lane.name(model), stream=stream, **ALL_PARAMETERS)
        if stream:
            assert list(reply)[-1].usage is not None
        else:
            assert reply.choices[0].message.content == "Paris."
    sent = lane.site(model).last.json
    kept = ALL_PARAMETERS.keys() - {"stream_options", "response_format"}
    assert {name: sent[name] for name in kept if name != "messages"} == {
        name: ALL_PARAMETERS[name] for name in kept if name != "messages"
    }
    assert sent["messages"][0]["name"] == "name"


def test_every_parameter_of_a_text_completion_at_once(lane: Lane) -> None:
    fields = {
        "best_of": 0, "echo": True, "frequency_penalty": -2, "logit_bias": {"foo": 0}, "logprobs": 0, "max_tokens": 16,
        "n": 1, "presence_penalty": -2, "seed": 0, "stop": "\n", "stream": False, "suffix": None, "temperature": 1,
        "stream_options": {"include_usage": True}, "top_p": 1, "user": "user-1234",
    }  # fmt: skip
    assert lane.complete("slm", **fields).status == 200
