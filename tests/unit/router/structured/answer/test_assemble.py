"""Chunks of a stream folded into whole choices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import UpstreamFailed
from router.messages.chat import CHAT
from router.messages.completions import COMPLETIONS
from router.structured.answer.assemble import StreamAssembler, endpoint_fields


def assemble(events):
    assembly = StreamAssembler()
    for event in events:
        assembly.add(event)
    return assembly.choices()


def chunk(delta, index=0, finish_reason=None):
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}


def test_nothing_makes_no_choice():
    assert assemble([]) == []
    assert assemble([{"choices": [], "usage": {}}, {}, {"choices": None}]) == []


def test_a_chat_stream():
    events = [
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel", "reasoning_content": "hm"}),
        chunk({"content": "lo"}),
        chunk({}, finish_reason="stop"),
        {"choices": [], "usage": {"prompt_tokens": 1}},
    ]
    assert assemble(events) == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "refusal": None, "reasoning_content": "hm"},
            "finish_reason": "stop",
        }
    ]


def test_a_stream_that_broke_off_has_no_finish_reason():
    assert assemble([chunk({"content": "a"})])[0]["finish_reason"] is None


def test_a_refusal_leaves_the_content_null():
    (choice,) = assemble([chunk({"refusal": "I "}), chunk({"refusal": "will not."}), chunk({}, finish_reason="stop")])
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": "I will not."}


def call(index=None, **fields):
    part = {key: value for key, value in fields.items() if key in ("id", "type")}
    part["function"] = {key: value for key, value in fields.items() if key in ("name", "arguments")}
    return part if index is None else part | {"index": index}


def test_parallel_tool_calls_interleave_by_index():
    events = [
        chunk({"tool_calls": [call(1, id="b", type="function", name="g", arguments="")]}),
        chunk({"tool_calls": [call(0, id="a", type="function", name="f", arguments='{"x"')]}),
        chunk({"tool_calls": [call(1, arguments="{}"), call(0, arguments=": 1}")]}),
        chunk({}, finish_reason="tool_calls"),
    ]
    (choice,) = assemble(events)
    assert choice["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert choice["message"]["content"] is None


def test_calls_without_an_index_are_told_apart_by_id():
    events = [
        chunk({"tool_calls": [call(id="a", name="f", arguments="{")]}),
        chunk({"tool_calls": [call(arguments="}")]}),
        chunk({"tool_calls": [call(id="a", arguments=" ")]}),
        chunk({"tool_calls": [call(id="b", name="g", arguments="[]")]}),
    ]
    calls = assemble(events)[0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["arguments"]) for c in calls] == [("a", "{} "), ("b", "[]")]


def test_calls_of_one_number_are_told_apart_by_id_and_name():
    events = [
        chunk({"tool_calls": [call(0, id="a", name="f", arguments="{")]}),
        chunk({"tool_calls": [call(0, id="a", name="f", arguments="}")]}),
        chunk({"tool_calls": [call(0, id="b", name="f", arguments="["), call(0, id="c", name="g", arguments="1")]}),
        chunk({"tool_calls": [call(0, arguments="2")]}),
        chunk({"tool_calls": [call(0, id="of the event", arguments="3")]}),
        chunk({"tool_calls": [call(1, id="d", name="h", arguments="4")]}),
    ]
    calls = assemble(events)[0]["message"]["tool_calls"]
    assert [(c["id"], c["function"]["arguments"]) for c in calls] == [("a", "{}"), ("b", "["), ("c", "123"), ("d", "4")]


@pytest.mark.parametrize(
    ("calls", "are_told_apart"),
    [
        ([], True),
        ([call(0, arguments="}")], True),
        ([call(0, id="a", name="f")], True),
        ([call(1, id="b", name="f")], True),
        ([call(1, id="b", name="f"), call(2, id="c", name="f")], True),
        ([call(0, id="b", name="f")], False),
        ([call(1, id="b", name="f"), call(1, id="c", name="f")], False),
        ([call(arguments="}")], False),
    ],
)
def test_calls_are_told_apart_by_numbers_of_their_own(calls, are_told_apart):
    assembly = StreamAssembler()
    assembly.add(chunk({"tool_calls": [call(0, id="a", name="f", arguments="{")]}))
    assert assembly.has_distinct_calls(chunk({"tool_calls": calls})["choices"][0]) == are_told_apart


def test_a_legacy_function_call():
    events = [chunk({"function_call": {"name": "f", "arguments": "{"}}), chunk({"function_call": {"arguments": "}"}})]
    assert assemble(events)[0]["message"]["function_call"] == {"name": "f", "arguments": "{}"}


def test_a_completion_stream():
    events = [
        {"choices": [{"index": 0, "text": "a", "finish_reason": None}]},
        {"choices": [{"index": 0, "text": "b", "finish_reason": "length"}]},
    ]
    assert assemble(events) == [{"index": 0, "text": "ab", "finish_reason": "length"}]


@given(
    st.lists(st.text(min_size=1), min_size=1, max_size=3),
    st.data(),
    st.booleans(),
)
def test_texts_survive_any_split_and_any_interleaving(texts, data, chat):
    left = list(texts)
    events = []
    while any(left):
        i = data.draw(st.sampled_from([n for n, text in enumerate(left) if text]))
        size = data.draw(st.integers(0, len(left[i])))
        part, left[i] = left[i][:size], left[i][size:] if size else left[i][1:]
        part = part or texts[i][len(texts[i]) - len(left[i]) - 1]
        events.append(chunk({"content": part}, i) if chat else {"choices": [{"index": i, "text": part}]})
    whole = assemble(events)
    assert [c["message"]["content"] if chat else c["text"] for c in whole] == texts
    assert [c["index"] for c in whole] == list(range(len(texts)))


def test_what_a_call_does_not_say_is_not_made_up():
    (choice,) = assemble([chunk({"tool_calls": [call(id="a", name="f", arguments={"x": 1})]})])
    assert choice["message"]["tool_calls"] == [{"id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]


def test_arguments_that_came_as_a_value_are_not_lost_to_what_follows():
    assembly = StreamAssembler()
    assembly.add(chunk({"tool_calls": [call(index=0, id="a", name="f", arguments={"x": 1})]}))
    assembly.add(chunk({"tool_calls": [call(index=0, arguments="")]}))
    with pytest.raises(UpstreamFailed, match="malformed"):
        assembly.add(chunk({"tool_calls": [call(index=0, arguments="{}")]}))


def test_of_the_two_endpoints_forms_only_the_one_that_is_read_counts():
    both = {"index": 0, "text": "a", "delta": {"content": "b"}, "message": {"content": "c"}}
    assert endpoint_fields(both, CHAT).keys() == {"index", "delta", "message"}
    assert endpoint_fields(both, COMPLETIONS) == {"index": 0, "text": "a"}
    one = {"index": 0, "text": "a"}
    assert endpoint_fields(one, COMPLETIONS) is one


@pytest.mark.parametrize(
    "event",
    [
        {"choices": {}},
        {"choices": ["x"]},
        chunk("x"),
        chunk({"content": 3}),
        chunk({"content": ["a"]}),
        chunk({"tool_calls": {}}),
        chunk({"tool_calls": [{"index": "0"}]}),
        chunk({"tool_calls": [{"index": 0, "function": "f"}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": []}}]}),
        {"choices": [{"index": "0", "text": "a"}]},
        {"choices": [{"text": 3}]},
    ],
)
def test_what_is_no_chunk_is_the_upstreams_fault(event):
    with pytest.raises(UpstreamFailed, match="malformed"):
        assemble([event])


def test_fields_that_are_unknown_here_are_kept():
    signature = {"google": {"thought_signature": "S"}}
    events = [
        chunk({"role": "assistant", "annotations": [1], "reasoning_details": [{"index": 0, "text": "a"}]}),
        chunk({"annotations": [2], "reasoning_details": [{"index": 0, "text": "b"}], "provider": None}),
        chunk({"thought_signature": "T", "tool_calls": [call(0, id="a", name="f") | {"extra_content": signature}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}", "thought_signature": "U"}}]}),
        {
            "choices": [
                {"index": 0, "delta": {}, "finish_reason": "stop", "native_finish_reason": "STOP", "logprobs": {}}
            ]
        },
    ]
    (whole,) = assemble(events)
    message = whole["message"]
    assert (message["annotations"], message["thought_signature"]) == ([1, 2], "T")
    assert [one["text"] for one in message["reasoning_details"]] == ["a", "b"]
    assert "provider" not in message
    (one,) = message["tool_calls"]
    assert one["extra_content"] == signature
    assert one["function"] == {"name": "f", "arguments": "{}", "thought_signature": "U"}
    assert whole["native_finish_reason"] == "STOP"
    assert "logprobs" not in whole
