"""The client's bytes -> ChatCall, or one error in OpenAI's words."""

import json

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.abilities import needs
from router.errors import BadRequest
from router.messages.prompt import rough_tokens, texts
from router.policy.base import Situation
from router.policy.heuristic import Heuristic
from router.types import ChatCall, RoutingOptions
from server.endpoints import decode as module
from server.endpoints.decode import describe
from server.endpoints.registry import ENDPOINTS
from tests.support.fakes import ineligible, large, model

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
TEXT = {"model": "auto", "prompt": "hi"}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
SCHEMA = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def decode(path: str, raw: bytes) -> ChatCall:
    return module.decode(ENDPOINTS[f"/v1/{path}"], raw)


def chat(**fields):
    return decode("chat/completions", json.dumps(CHAT | fields).encode())


def text(**fields):
    return decode("completions", json.dumps(TEXT | fields).encode())


def refused(endpoint, body) -> BadRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(BadRequest) as caught:
        decode(endpoint, raw)
    error = caught.value
    assert error.status == 400
    assert set(error.body()["error"]) == {"message", "type", "param", "code"}
    assert len(error.message) < 400
    return error


def user(content):
    return {"messages": [{"role": "user", "content": content}]}


# --- what is accepted, and what becomes of it


def test_a_call_carries_the_body_as_the_client_sent_it():
    raw = (
        b'{"model": "auto", "messages": [{"role": "user", "content": "h\\u00e9"}], "temperature": 1,'
        b' "big": 123456789012345678901234567890, "top_k": 5, "routing": {"policy": "fixed"}}'
    )
    call = decode("chat/completions", raw)
    assert call.endpoint.path == "chat/completions"
    assert call.model == "auto"
    assert call.size == len(raw)
    assert call.body == {
        "model": "auto",
        "messages": [{"role": "user", "content": "hé"}],
        "temperature": 1,
        "big": 123456789012345678901234567890,
        "top_k": 5,
    }
    assert type(call.body["temperature"]) is int
    assert not call.stream


@pytest.mark.parametrize(
    ("routing", "expected"),
    [
        (None, RoutingOptions()),
        ({}, RoutingOptions()),
        ({"policy": None, "allow_fallback": None, "max_cost_usd": None, "deadline_ms": None}, RoutingOptions()),
        (
            {"policy": "heuristic", "max_cost_usd": 1, "allow_fallback": False, "deadline_ms": 2000},
            RoutingOptions("heuristic", 1, allow_fallback=False, deadline_ms=2000),
        ),
        ({"min_confidence": None, "task": None, "hold": None}, RoutingOptions()),
        (
            {"policy": "cascade", "min_confidence": 0.9, "task": "triage", "hold": "first"},
            RoutingOptions("cascade", min_confidence=0.9, task="triage", hold="first"),
        ),
        ({"stream_check": None, "on_truncation": None}, RoutingOptions()),
        (
            {"stream_check": "prefix", "on_truncation": "retry"},
            RoutingOptions(stream_check="prefix", on_truncation="retry"),
        ),
    ],
)
def test_routing_becomes_options(routing, expected):
    call = chat(routing=routing)
    assert call.routing == expected
    assert "routing" not in call.body


@pytest.mark.parametrize(
    ("fields", "stream", "include_usage"),
    [
        ({}, False, False),
        ({"stream": False}, False, False),
        ({"stream": None, "stream_options": None}, False, False),
        ({"stream": True}, True, False),
        ({"stream": True, "stream_options": {}}, True, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, True, False),
        ({"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False}}, True, True),
    ],
)
def test_stream_and_usage(fields, stream, include_usage):
    for call in (chat(**fields), text(**fields)):
        assert (call.stream, call.include_usage) == (stream, include_usage)


ACCEPTED = [
    user([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:,"}}, {"type": "video_url"}]),
    {"messages": [{"role": role, "content": "a"} for role in ("system", "developer", "user", "assistant")]},
    {"messages": [{"role": "assistant"}, {"role": "assistant", "content": None, "refusal": "no"}]},
    {
        "messages": [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "1"}]},
            {"role": "function", "name": "f", "content": None},
        ]
    },
    {"temperature": 0, "top_p": 1, "n": 128, "presence_penalty": -2, "frequency_penalty": 2.0, "seed": -1},
    {"max_tokens": 1, "max_completion_tokens": 5, "stop": ["a", "b", "c", "d"], "logit_bias": {"50256": -100}},
    {"logprobs": True, "top_logprobs": 20},
    {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
    {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"tools": TOOLS, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": TOOLS}}},
    {"tools": [], "tool_choice": "auto"},
    {"tool_choice": "none"},
    {"response_format": {"type": "text"}},
    {"response_format": {"type": "json_object"}},
    {"response_format": SCHEMA},
    {"response_format": {"type": "structural_tag", "structures": [{"begin": "<", "end": ">"}], "triggers": ["<"]}},
    {"structured_outputs": {"json": "{}", "whitespace_pattern": " ", "backend": "x"}},
    {"structured_outputs": {"json": True, "disable_any_whitespace": True, "disable_additional_properties": True}},
    {"structured_outputs": {"structural_tag": "{}"}},
    {"guided_json": "{}", "guided_decoding_backend": "x", "guided_whitespace_pattern": " "},
    {"guided_choice": ["a"], "guided_regex": "a", "guided_grammar": "a"},
    {"functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}},
    {
        "store": True, "metadata": {"a": "b"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k",
        "prompt_cache_retention": "24h", "service_tier": "auto", "reasoning_effort": "none", "verbosity": "low",
        "prediction": {"type": "content", "content": "x"}, "modalities": ["text"], "web_search_options": {},
        "functions": [{"name": "f"}], "function_call": "auto",
    },
    {
        "chat_template_kwargs": {"enable_thinking": False}, "structured_outputs": {"regex": "a"}, "guided_json": {},
        "top_k": 1, "min_p": 0.1, "repetition_penalty": 1.1, "priority": 1, "cache_salt": "s", "ignore_eos": True,
    },
]  # fmt: skip
OPTIONAL = [
    "temperature", "top_p", "n", "stop", "seed", "presence_penalty", "frequency_penalty", "logit_bias", "stream",
    "stream_options", "response_format", "routing", "max_completion_tokens", "max_tokens", "logprobs",
    "top_logprobs", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "structured_outputs",
    "guided_json", "guided_regex", "guided_choice", "guided_grammar", "guided_decoding_backend",
    "guided_whitespace_pattern",
]  # fmt: skip


@pytest.mark.parametrize("fields", [*ACCEPTED, dict.fromkeys(OPTIONAL)], ids=lambda fields: ",".join(fields)[:40])
def test_documented_chat_fields_are_accepted_untouched(fields):
    assert chat(**fields).body == {k: v for k, v in (CHAT | fields).items() if k != "routing"}


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ["a", "b"]},
        {"prompt": [1, 2]},
        {"prompt": [[1], [2, 3]]},
        {"max_tokens": 0, "echo": True, "logprobs": 5},
        {"best_of": 3, "n": 2},
        {"suffix": None, "user": "u", "response_format": SCHEMA},
    ],
)
def test_documented_completion_fields_are_accepted_untouched(fields):
    assert text(**fields).body == TEXT | fields


# --- what is refused


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "The request body is empty"),
        (b"  ", "The request body is empty"),
        (b"{", "Expecting property name"),
        (b"{} {}", "Extra data"),
        (b"[]", "is not a JSON object"),
        (b'"x"', "is not a JSON object"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8 (byte 7)"),
        ("{}".encode("utf-16"), "not UTF-8"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too large"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b"[" * 1_000_000, "nested deeper"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested deeper"),
    ],
)
def test_bytes_that_are_no_json_object(raw, message):
    for endpoint in ("chat/completions", "completions"):
        error = refused(endpoint, raw)
        assert (error.code, error.param) == ("invalid_json", None)
        assert message in error.message


CHAT_WRONG = [
    ({"model": ""}, "model", "empty_string"),
    ({"model": 3}, "model", "invalid_type"),
    ({"model": None}, "model", "invalid_type"),
    ({"model": "x" * 300}, "model", "string_above_max_length"),
    ({"messages": None}, "messages", "invalid_type"),
    ({"messages": []}, "messages", "empty_array"),
    ({"messages": "hi"}, "messages", "invalid_type"),
    ({"messages": ["hi"]}, "messages[0]", "invalid_type"),
    ({"messages": [{"content": "x"}]}, "messages[0].role", "missing_required_parameter"),
    ({"messages": [{"role": "boss", "content": "x"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    (user(None), "messages[0].content", "invalid_type"),
    (user(3), "messages[0].content", "invalid_type"),
    (user([]), "messages[0].content", "empty_array"),
    (user(["x"]), "messages[0].content[0]", "invalid_type"),
    (user([{"text": "x"}]), "messages[0].content[0].type", "missing_required_parameter"),
    (user([{"type": "text"}]), "messages[0].content[0].text", "missing_required_parameter"),
    (user([{"type": "text", "text": 3}]), "messages[0].content[0].text", "invalid_type"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "missing_required_parameter"),
    (
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f"}}]}
            ]
        },
        "messages[0].tool_calls[0].function.arguments",
        "missing_required_parameter",
    ),
    ({"temperature": "hot"}, "temperature", "invalid_type"),
    ({"temperature": True}, "temperature", "invalid_type"),
    ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
    ({"temperature": -1}, "temperature", "decimal_below_min_value"),
    ({"top_p": 1.1}, "top_p", "decimal_above_max_value"),
    ({"presence_penalty": -3}, "presence_penalty", "decimal_below_min_value"),
    ({"frequency_penalty": 3}, "frequency_penalty", "decimal_above_max_value"),
    ({"n": 0}, "n", "integer_below_min_value"),
    ({"n": 129}, "n", "integer_above_max_value"),
    ({"n": 1.0}, "n", "invalid_type"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    ({"max_completion_tokens": -1}, "max_completion_tokens", "integer_below_min_value"),
    ({"stop": ["a"] * 5}, "stop", "array_above_max_length"),
    ({"stop": 3}, "stop", "invalid_type"),
    ({"stop": ["a", 3]}, "stop[1]", "invalid_type"),
    ({"seed": 1.5}, "seed", "invalid_type"),
    ({"seed": 2**70}, "seed", "integer_above_max_value"),
    ({"logit_bias": []}, "logit_bias", "invalid_type"),
    ({"logit_bias": {"7": "x"}}, "logit_bias.7", "invalid_type"),
    ({"logit_bias": {"7": 101}}, "logit_bias.7", "decimal_above_max_value"),
    ({"top_logprobs": 1}, "top_logprobs", "invalid_value"),
    ({"logprobs": False, "top_logprobs": 1}, "top_logprobs", "invalid_value"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
    ({"logprobs": 1}, "logprobs", "invalid_type"),
    ({"stream": "yes"}, "stream", "invalid_type"),
    ({"stream_options": {}}, "stream_options", "invalid_value"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "invalid_type"),
    ({"tools": {}}, "tools", "invalid_type"),
    ({"tools": [{"type": "custom", "custom": {}}]}, "tools[0].type", "invalid_value"),
    ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing_required_parameter"),
    ({"tool_choice": 3}, "tool_choice", "invalid_type"),
    ({"functions": {}}, "functions", "invalid_type"),
    ({"functions": [{"description": "f"}]}, "functions[0].name", "missing_required_parameter"),
    ({"function_call": 3}, "function_call", "invalid_type"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls", "invalid_type"),
    ({"response_format": "json"}, "response_format", "invalid_type"),
    ({"response_format": {}}, "response_format.type", "missing_required_parameter"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
        "response_format.json_schema.name",
        "missing_required_parameter",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a b", "schema": {}}}},
        "response_format.json_schema.name",
        "invalid_value",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "response_format.json_schema.schema",
        "missing_required_parameter",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": []}}},
        "response_format.json_schema.schema",
        "invalid_type",
    ),
    ({"response_format": {"type": "structural_tag", "structures": {}}}, "response_format.structures", "invalid_type"),
    (
        {"response_format": {"type": "structural_tag", "structures": [{"begin": "a"}]}},
        "response_format.structures[0].end",
        "missing_required_parameter",
    ),
    (
        {"response_format": {"type": "structural_tag", "triggers": [3]}},
        "response_format.triggers[0]",
        "invalid_type",
    ),
    ({"structured_outputs": "json"}, "structured_outputs", "invalid_type"),
    ({"structured_outputs": {"json": 3}}, "structured_outputs.json", "invalid_type"),
    ({"structured_outputs": {"regex": {}}}, "structured_outputs.regex", "invalid_type"),
    ({"structured_outputs": {"choice": "a"}}, "structured_outputs.choice", "invalid_type"),
    ({"structured_outputs": {"choice": ["a", 3]}}, "structured_outputs.choice[1]", "invalid_type"),
    ({"structured_outputs": {"grammar": 3}}, "structured_outputs.grammar", "invalid_type"),
    ({"structured_outputs": {"json_object": "yes"}}, "structured_outputs.json_object", "invalid_type"),
    ({"structured_outputs": {"structural_tag": []}}, "structured_outputs.structural_tag", "invalid_type"),
    ({"guided_json": []}, "guided_json", "invalid_type"),
    ({"guided_regex": 3}, "guided_regex", "invalid_type"),
    ({"guided_choice": {}}, "guided_choice", "invalid_type"),
    ({"guided_grammar": 3}, "guided_grammar", "invalid_type"),
    ({"guided_decoding_backend": 3}, "guided_decoding_backend", "invalid_type"),
    ({"guided_whitespace_pattern": 3}, "guided_whitespace_pattern", "invalid_type"),
    ({"routing": {"stream_check": "no"}}, "routing.stream_check", "invalid_value"),
    ({"routing": {"on_truncation": "fail"}}, "routing.on_truncation", "invalid_value"),
    ({"routing": 3}, "routing", "invalid_type"),
    ({"routing": {"xyz": 1}}, "routing.xyz", "unknown_parameter"),
    ({"routing": {"min_confidence": 1.5}}, "routing.min_confidence", "decimal_above_max_value"),
    ({"routing": {"policy": "best"}}, "routing.policy", "invalid_value"),
    ({"routing": {"task": ""}}, "routing.task", "empty_string"),
    ({"routing": {"hold": "all"}}, "routing.hold", "invalid_value"),
    ({"routing": {"policy": "best"}}, "routing.policy", "invalid_value"),
    ({"routing": {"policy": []}}, "routing.policy", "invalid_value"),
    ({"routing": {"max_cost_usd": 0}}, "routing.max_cost_usd", "decimal_below_min_value"),
    ({"routing": {"deadline_ms": 0}}, "routing.deadline_ms", "integer_below_min_value"),
    ({"routing": {"deadline_ms": 1.5}}, "routing.deadline_ms", "invalid_type"),
    ({"routing": {"allow_fallback": "no"}}, "routing.allow_fallback", "invalid_type"),
]


@pytest.mark.parametrize(("fields", "param", "code"), CHAT_WRONG)
def test_a_wrong_chat_field_is_named(fields, param, code):
    error = refused("chat/completions", CHAT | fields)
    assert (error.param, error.code) == (param, code)
    assert param in error.message


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"prompt": ""}, "prompt", "empty_string"),
        ({"prompt": []}, "prompt", "empty_array"),
        ({"prompt": [[]]}, "prompt[0]", "empty_array"),
        ({"prompt": None}, "prompt", "invalid_type"),
        ({"prompt": {}}, "prompt", "invalid_type"),
        ({"prompt": ["a", 1]}, "prompt", "invalid_type"),
        ({"prompt": [1, "a"]}, "prompt", "invalid_type"),
        ({"prompt": [1.5]}, "prompt", "invalid_type"),
        ({"prompt": [[1], ["a"]]}, "prompt[1][0]", "invalid_type"),
        ({"suffix": "x"}, "suffix", "unsupported_parameter"),
        ({"best_of": 1, "n": 2}, "best_of", "invalid_value"),
        ({"best_of": 21}, "best_of", "integer_above_max_value"),
        ({"logprobs": 6}, "logprobs", "integer_above_max_value"),
        ({"logprobs": True}, "logprobs", "invalid_type"),
        ({"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
        ({"echo": True, "response_format": SCHEMA}, "echo", "invalid_value"),
        ({"echo": True, "guided_choice": ["a"]}, "echo", "invalid_value"),
        ({"echo": True, "structured_outputs": {"regex": "a"}}, "echo", "invalid_value"),
    ],
)
def test_a_wrong_completion_field_is_named(fields, param, code):
    error = refused("completions", TEXT | fields)
    assert (error.param, error.code) == (param, code)
    assert param in error.message


@pytest.mark.parametrize(("endpoint", "field"), [("chat/completions", "messages"), ("completions", "prompt")])
def test_a_missing_field_is_named(endpoint, field):
    body = CHAT | TEXT
    for name in ("model", field):
        error = refused(endpoint, {key: value for key, value in body.items() if key != name})
        assert error.message == f"Missing required parameter: '{name}'."
        assert (error.param, error.code) == (name, "missing_required_parameter")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"temperature": "hot"}, "Invalid type for 'temperature': expected a number, but got a string instead."),
        ({"temperature": 3}, "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3."),
        ({"n": 0}, "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0."),
        ({"stop": ["a"] * 5}, "Invalid 'stop': array too long. Expected at most 4 elements, got 5."),
        ({"messages": []}, "Invalid 'messages': empty array. Expected at least 1 element."),
        (
            user(3),
            "Invalid type for 'messages[0].content': expected a string or an array of content parts, "
            "but got an integer instead.",
        ),
        ({"routing": {"x": 1}}, "Unknown parameter: 'routing.x'."),
    ],
)
def test_the_words_of_an_error(fields, message):
    assert refused("chat/completions", CHAT | fields).message == message


HUGE = "x" * 100_000


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": HUGE, "content": "x"}]},
        {"logit_bias": {HUGE: "x"}},
        {"routing": {HUGE: 1}},
        {"routing": {"policy": HUGE}},
        {"structured_outputs": {"json": [HUGE]}},
        {"routing": {"stream_check": HUGE}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": HUGE, "schema": {}}}},
        {"temperature": 10**300},
        {"messages": [3] * 10_000},
        {"messages": [{"role": "user", "content": [3] * 10_000}]},
    ],
)
def test_an_error_never_repeats_a_large_input(fields):
    error = refused("chat/completions", CHAT | fields)
    assert len(error.message) < 400
    assert len(error.param) < 200


def test_thousands_of_messages_are_a_call():
    body = CHAT | {"messages": CHAT["messages"] * 10_000}
    assert decode("chat/completions", json.dumps(body).encode()).body["messages"] == body["messages"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("messages", [{"role": "user", "content": "x"}] * 10_001),
        ("tools", [{"type": "function", "function": {"name": "f"}}] * 1_001),
        ("functions", [{"name": "f"}] * 1_001),
        ("logit_bias", {str(i): "junk" for i in range(10_001)}),
    ],
)
def test_what_has_no_end_is_refused_before_it_is_validated(name, value):
    with pytest.raises(BadRequest) as caught:
        decode("chat/completions", json.dumps(CHAT | {name: value}).encode())
    assert (caught.value.param, caught.value.code) == (name, "array_above_max_length")


# --- only the endpoint's own fields are read

ABLE = large(abilities=frozenset({"completions", "tools", "structured", "logprobs"}), context=100)
FOREIGN_TO_COMPLETIONS = {
    "max_completion_tokens": ["abc", 10**6, {}],
    "tools": [5, [1] * 16, {"a": 1}],
    "functions": [5, [{"name": "f"}]],
    "messages": [5, [{"role": "user", "content": [{"type": "image_url"}]}], [{"content": "x" * 40_000}] * 30],
    "modalities": [["audio"]],
    "reasoning_effort": ["high"],
}
FOREIGN_TO_CHAT = {
    "prompt": [[], ["a", "b"], [[]], [1, 2, 3], "x" * 40_000, None, 5, {"content": "x" * 40_000}],
    "best_of": [20, "abc", []],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in FOREIGN_TO_COMPLETIONS.items() for value in values]
)
def test_what_only_chat_knows_decides_nothing_of_a_completion(name, value):
    call = text(**{name: value, "max_tokens": 50, "n": 2})
    assert call.body[name] == value, "it is forwarded all the same"
    assert (call.max_tokens, call.choices, call.generated) == (50, 2, 2)
    assert (list(texts(call)), rough_tokens(call)) == (["hi"], 0)
    assert needs(call) == {"completions"}
    assert ineligible(ABLE, call, needs(call)) is None
    decision = Heuristic(0.01).decide(Situation(call, ((model(),), (large(),))))
    assert (decision.rung, decision.score) == (0, 0.0)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in FOREIGN_TO_CHAT.items() for value in values]
)
def test_what_only_completions_know_decides_nothing_of_a_chat(name, value):
    call = chat(**{name: value, "max_tokens": 50})
    assert call.body[name] == value
    assert (call.prompts, call.choices, call.generated) == (1, 1, 1)
    assert (list(texts(call)), rough_tokens(call)) == (["hi"], 0)
    assert needs(call) == frozenset()
    assert ineligible(ABLE, call, needs(call)) is None
    assert Heuristic(0.01).decide(Situation(call, ((model(),), (large(),)))).score == 0.0


def test_a_limit_that_both_know_is_read_of_both():
    for call in (chat(max_tokens=101), text(max_tokens=101)):
        assert ineligible(ABLE, call, needs(call)).reason == "context"
    assert ineligible(ABLE, chat(max_tokens=101, max_completion_tokens=50), frozenset()) is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 10**308, "n": 128}, "max_tokens"),
        ({"routing": {"max_cost_usd": 1e300}}, "routing.max_cost_usd"),
    ],
)
@pytest.mark.parametrize("endpoint", ["chat/completions", "completions"])
def test_numbers_beyond_all_arithmetic_are_refused(endpoint, fields, param):
    body = (CHAT if endpoint == "chat/completions" else TEXT) | fields
    assert refused(endpoint, body).param == param


# --- whatever comes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from([*OPTIONAL, "model", "messages", "prompt", "suffix", "best_of", "echo"])
PATHS = st.sampled_from(["chat/completions", "completions"])


def outcome(endpoint, body):
    """Return the call, or the error; anything else that is raised fails the test."""
    try:
        return decode(endpoint, json.dumps(body).encode())
    except BadRequest as error:
        return error


@given(PATHS, st.dictionaries(FIELDS | st.text(), JSON), st.booleans())
def test_any_json_object_is_a_call_or_a_bad_request(endpoint, fields, complete):
    body = CHAT | TEXT | fields if complete else fields
    result = outcome(endpoint, body)
    if isinstance(result, BadRequest):
        assert 0 < len(result.message) < 400
    else:
        assert result.body == {key: value for key, value in body.items() if key != "routing"}


@given(st.sampled_from(["content", "tool_calls", "tool_call_id", "role", "name"]), JSON)
def test_any_message_is_a_call_or_a_bad_request(field, value):
    body = CHAT | {"messages": [{"role": "assistant", "content": "x", field: value}]}
    result = outcome("chat/completions", body)
    if isinstance(result, BadRequest):
        assert 0 < len(result.message) < 400
    else:
        assert result.body == body


@given(PATHS, st.binary())
def test_any_bytes_are_a_bad_request(endpoint, raw):
    with pytest.raises(BadRequest):
        decode(endpoint, raw)


# --- the documentation


def test_both_endpoints_are_in_the_openapi_document():
    app = FastAPI(title="t", version="1")
    describe(app)
    document = app.openapi()
    assert document is app.openapi()
    for path, name in (("/v1/chat/completions", "ChatRequest"), ("/v1/completions", "CompletionRequest")):
        body = document["paths"][path]["post"]["requestBody"]
        assert body["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{name}"}
        assert name in document["components"]["schemas"]
    chat_schema = document["components"]["schemas"]["ChatRequest"]
    assert set(chat_schema["required"]) == {"model", "messages"}
    assert chat_schema["properties"]["model"]["examples"] == ["auto"]
    refs = set(_references(document))
    assert refs
    assert {ref.rsplit("/", 1)[1] for ref in refs} <= set(document["components"]["schemas"])


def _references(node):
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
