"""What no endpoint accepts, and the error that names it."""

import json

import pytest

from router.errors import BadRequest
from tests.support.decoding import CHAT, SCHEMA, TEXT, decode, refused, user


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
    ({"max_tokens": -1}, "max_tokens", "integer_below_min_value"),
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
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_value"),
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
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema", "missing_required_parameter"),
    ({"response_format": {"type": "text", "schema": {}}}, "response_format.type", "invalid_value"),
    ({"response_format": {"type": "regex"}}, "response_format.pattern", "missing_required_parameter"),
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
        ({"suffix": ["x"]}, "suffix", "invalid_type"),
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
