"""Absent, null and empty fields; calls in the history whose arguments upstreams cannot read."""

import json

import msgspec
import pytest

from router.messages.adapted import MAX_NAMES
from tests.support.decoding import CHAT, TEXT, TOOLS, chat, decode, refused, text
from tests.unit.server.endpoints.test_decode import OPTIONAL

USER = CHAT["messages"][0]


def sent(call):
    """Return what an upstream gets, and check that both forms of the call agree."""
    fields = json.loads(msgspec.json.encode(call.fields))
    assert fields == call.body
    return fields


def turn(**message):
    return {"messages": [USER, {"role": "assistant", **message}, USER]}


def history(arguments, **function):
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments, **function}}
    return turn(content=None, tool_calls=[call])


@pytest.mark.parametrize(
    "fields",
    [
        dict.fromkeys(OPTIONAL),
        {"tools": [], "tool_choice": "auto", "functions": [], "function_call": "none"},
        {"tools": None, "tool_choice": "none"},
        {"tools": [], "parallel_tool_calls": False},
        {"stop": []},
        {"stop": ""},
        {"logit_bias": {}, "metadata": {}, "user": "", "chat_template_kwargs": {}, "modalities": []},
        {"stream_options": {}},
        {"some_new_field": None},
    ],
    ids=str,
)
def test_a_field_that_asks_for_nothing_is_as_if_absent(fields):
    call = chat(**fields)
    assert sent(call) == CHAT
    assert call.adapted == (), "the meaning is the same"


def test_a_completion_without_empty_fields():
    assert sent(text(suffix=None, best_of=None, stop=[], logit_bias={})) == TEXT
    assert sent(text(suffix="")) == TEXT


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0, "seed": 0, "n": 1, "max_tokens": 0, "stream": False, "store": False},
        {"web_search_options": {}, "some_new_field": []},
        {"guided_json": {}},
        {"tool_choice": "auto", "parallel_tool_calls": False},
    ],
    ids=str,
)
def test_what_means_something_stays(fields):
    assert sent(chat(**fields)) == CHAT | fields


def test_a_required_call_without_tools_stays_an_error():
    assert sent(chat(tools=[], tool_choice="required")) == CHAT | {"tool_choice": "required"}


def test_options_of_a_stream_that_is_explicitly_none_are_removed():
    assert sent(chat(stream=False, stream_options={"include_usage": True})) == CHAT | {"stream": False}


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {"content": "x", "tool_calls": None, "function_call": None, "refusal": None, "audio": None, "name": None},
            {"content": "x"},
        ),
        ({"content": "x", "tool_calls": [], "annotations": [], "name": ""}, {"content": "x"}),
        ({"content": None, "refusal": None}, {"content": None}),
        ({"content": None, "tool_calls": []}, {"content": ""}),
        ({"content": "x", "reasoning_content": ""}, {"content": "x", "reasoning_content": ""}),
    ],
)
def test_empty_fields_of_a_message(message, expected):
    call = chat(**turn(**message))
    assert sent(call)["messages"][1] == {"role": "assistant", **expected}
    assert call.adapted == ()


def test_only_the_changed_message_is_encoded_anew():
    first, last = b'{"role":"user", "content" : "h\\u00e9"}', b'{"content":1e2, "role":"user","content":"x"}'
    raw = b'{"model": "auto", "messages": [%s, {"role": "assistant", "content": "a", "tool_calls": null}, %s]}'
    call = decode("chat/completions", raw % (first, last))
    assert bytes(call.fields["messages"]) == b'[%s,{"role": "assistant", "content": "a"},%s]' % (first, last)


def test_a_good_history_is_forwarded_byte_for_byte():
    raw = json.dumps(CHAT | history('{"a" : 1}'), indent=1).encode()
    messages = decode("chat/completions", raw).fields["messages"]
    assert bytes(messages) in raw


@pytest.mark.parametrize("arguments", ["", " ", "\n", None])
def test_a_call_without_arguments_has_none(arguments):
    call = chat(**history(arguments))
    assert sent(call)["messages"][1]["tool_calls"][0]["function"] == {"name": "f", "arguments": "{}"}
    assert call.adapted == ("messages.1.tool_calls.0.arguments={}",)


def test_a_call_whose_arguments_are_missing_has_none():
    called = {"id": "a", "type": "function", "function": {"name": "f"}}
    call = chat(**turn(tool_calls=[called]))
    assert sent(call)["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_call_without_a_type_is_one_of_a_function():
    called = {"id": "a", "function": {"name": "f", "arguments": "{}"}}
    call = chat(**turn(tool_calls=[called]))
    assert sent(call)["messages"][1]["tool_calls"] == [called | {"type": "function"}]
    assert call.adapted == ("messages.1.tool_calls.0.type=function",)


def test_arguments_as_an_object_become_text():
    call = chat(**history({"city": "Málaga", "n": 10**30}))
    (called,) = sent(call)["messages"][1]["tool_calls"]
    assert json.loads(called["function"]["arguments"]) == {"city": "Málaga", "n": 10**30}
    assert call.adapted == ("messages.1.tool_calls.0.arguments=text",)


def test_the_older_function_call_is_treated_alike():
    call = chat(**turn(content=None, function_call={"name": "f", "arguments": ""}))
    assert sent(call)["messages"][1]["function_call"] == {"name": "f", "arguments": "{}"}
    assert call.adapted == ("messages.1.function_call.arguments={}",)
    error = refused("chat/completions", CHAT | turn(function_call={"name": "f", "arguments": "[]"}))
    assert error.param == "messages[1].function_call.arguments"


@pytest.mark.parametrize(
    "arguments", ["[]", '"x"', '{"a": ', "nil", "{} {}", '{"a": NaN}', "3", "[" * 5000, "{'a': 1}"]
)
def test_arguments_that_are_no_object_are_refused_by_name(arguments):
    error = refused("chat/completions", CHAT | history(arguments))
    assert error.param == "messages[1].tool_calls[0].function.arguments"
    assert "messages[1].tool_calls[0]" in error.message


@pytest.mark.parametrize("arguments", [[], 3, True])
def test_arguments_of_another_type_are_refused_by_name(arguments):
    error = refused("chat/completions", CHAT | history(arguments))
    assert (error.param, error.code) == ("messages[1].tool_calls[0].function.arguments", "invalid_type")


def test_a_long_id_of_a_call_is_taken():
    called = {"id": "call_" + "x" * 5_000, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = {"messages": [USER, {"role": "assistant", "tool_calls": [called]}], "tools": TOOLS}
    assert sent(chat(**body)) == CHAT | body


def test_the_header_stays_short():
    call = chat(messages=[USER, *history("")["messages"][1:2] * 100])
    assert len(call.adapted) == MAX_NAMES + 1
    assert call.adapted[-1] == "84 more"
