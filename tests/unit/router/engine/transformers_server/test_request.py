"""Requests of the transformers server: what is read, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.engine.transformers_server.errors import RequestError
from router.engine.transformers_server.request import FIELDS, OutputFormat, parse
from router.upstream.dialects import transformers as dialect

MESSAGES: list[Any] = [{"role": "user", "content": "x"}]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def body(**fields: Any) -> dict[str, Any]:
    return {"messages": MESSAGES} | fields


def test_the_gateway_sends_exactly_the_fields_that_are_read() -> None:
    assert dialect.FIELDS == FIELDS


def test_what_is_not_given_is_left_to_the_model() -> None:
    request = parse(body())
    assert (request.choices, request.max_tokens, request.top_logprobs, request.stream) == (1, None, None, False)
    assert request.sampling.temperature is None
    assert request.output_format is None
    assert request.calls is None


def test_the_newer_token_limit_wins() -> None:
    assert parse(body(max_tokens=5)).max_tokens == 5
    assert parse(body(max_tokens=5, max_completion_tokens=7)).max_tokens == 7


@pytest.mark.parametrize(("stop", "read"), [("a", ["a"]), (["a", "b"], ["a", "b"]), (None, []), ([], [])])
def test_stop_strings(stop: Any, read: list[str]) -> None:
    assert list(parse(body(stop=stop)).stop) == read


def test_logprobs_count_only_if_they_are_asked_for() -> None:
    assert parse(body(top_logprobs=3)).top_logprobs is None
    assert parse(body(logprobs=True)).top_logprobs == 0
    assert parse(body(logprobs=True, top_logprobs=3)).top_logprobs == 3


def test_messages_are_written_for_chat_templates() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    first, second = parse({"messages": messages}).messages
    assert first == {"role": "user", "content": "one two"}
    assert second["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert call["function"] == {"name": "f", "arguments": '{"a": 1}'}, "the request itself is unchanged"


def test_tools_that_may_not_be_called_are_not_shown() -> None:
    assert parse(body(tools=TOOLS)).tools == TOOLS
    assert parse(body(tools=TOOLS, tool_choice="none")).tools is None


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, ("json_schema", '{"type": "object"}')),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}},
            ("json_schema", '{"a": 1}'),
        ),
        ({"structured_outputs": {"choice": ["a", "b"], "regex": None}}, ("choice", '["a", "b"]')),
        ({"structured_outputs": {"regex": "a+"}}, ("regex", "a+")),
        ({"structured_outputs": {"grammar": "root ::= x"}}, ("grammar", "root ::= x")),
    ],
)
def test_formats(fields: dict[str, Any], read: tuple[str, str] | None) -> None:
    asked = parse(body(**fields)).output_format
    assert (asked and (asked.kind, asked.source)) == read
    assert asked is None or asked.param in fields


def test_a_required_call_leaves_no_text_that_could_have_a_format() -> None:
    format_: Any = {"response_format": {"type": "json_object"}}
    assert parse(body(tools=TOOLS, tool_choice="required", **format_)).output_format is None
    assert isinstance(parse(body(tools=TOOLS, **format_)).output_format, OutputFormat)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"messages": []}, "messages", "invalid_value"),
        ({"messages": ["x"]}, "messages[0]", "invalid_value"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content", "invalid_value"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls", "invalid_value"),
        ({"temperature": -1}, "temperature", "invalid_value"),
        ({"temperature": True}, "temperature", "invalid_value"),
        ({"top_p": 1.1}, "top_p", "invalid_value"),
        ({"max_tokens": 0}, "max_tokens", "invalid_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_value"),
        ({"n": 0}, "n", "invalid_value"),
        ({"seed": 2**63}, "seed", "invalid_value"),
        ({"stop": [""]}, "stop", "invalid_value"),
        ({"stop": ["x"] * 17}, "stop", "invalid_value"),
        ({"logit_bias": {"a": 1}}, "logit_bias", "invalid_value"),
        ({"stream_options": "x"}, "stream_options", "invalid_value"),
        ({"response_format": {"type": "odd"}}, "response_format", "unsupported_schema"),
        ({"response_format": {"type": "json_schema"}}, "response_format", "unsupported_schema"),
        ({"structured_outputs": {"structural_tag": "{}"}}, "structured_outputs", "unsupported_schema"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs", "unsupported_schema"),
        ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        parse(body(**fields))
    assert (caught.value.param, caught.value.code, caught.value.status) == (param, code, 400)
    assert caught.value.body()["error"]["type"] == "invalid_request_error"


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), JSON))
def test_any_body_is_read_or_refused(fields: dict[str, Any]) -> None:
    try:
        parse(fields | {"messages": MESSAGES})
    except RequestError as error:
        json.dumps(error.body())
