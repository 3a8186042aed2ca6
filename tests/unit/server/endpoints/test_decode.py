"""The client's bytes -> ChatCall, or one error in OpenAI's words."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.attempt.abilities import needs
from router.errors import BadRequest
from router.messages.prompt import rough_tokens, texts
from router.policy.base import Situation
from router.policy.heuristic import Heuristic
from router.types import RoutingOptions
from tests.support.decoding import CHAT, SCHEMA, TEXT, TOOLS, chat, decode, refused, text, user
from tests.support.fakes import ineligible, large, model

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
    {"max_tokens": 0, "max_completion_tokens": 0},
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


@pytest.mark.parametrize("fields", ACCEPTED, ids=lambda fields: ",".join(fields)[:40])
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
        {"best_of": 0, "user": "u", "response_format": SCHEMA},
    ],
)
def test_documented_completion_fields_are_accepted_untouched(fields):
    assert text(**fields).body == TEXT | fields


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
    "prompt": [[], ["a", "b"], [[]], [1, 2, 3], "x" * 40_000, 5, {"content": "x" * 40_000}],
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
        assert {name: body[name] for name in result.body} == result.body
        assert not any(body[name] for name in body.keys() - result.body.keys() - {"routing", "stream_options"})
        assert result.body.keys() == result.fields.keys()


@given(st.sampled_from(["content", "tool_calls", "tool_call_id", "role", "name"]), JSON)
def test_any_message_is_a_call_or_a_bad_request(field, value):
    body = CHAT | {"messages": [{"role": "assistant", "content": "x", field: value}]}
    result = outcome("chat/completions", body)
    if isinstance(result, BadRequest):
        assert 0 < len(result.message) < 400
    else:
        assert msgspec.json.decode(msgspec.json.encode(result.fields)) == result.body


@given(PATHS, st.binary())
def test_any_bytes_are_a_bad_request(endpoint, raw):
    with pytest.raises(BadRequest):
        decode(endpoint, raw)
