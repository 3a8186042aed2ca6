"""A changed answer told as a stream again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import StructuredOutputViolation
from router.structured.answer.assemble import StreamAssembler
from router.structured.answer.render_stream import render_stream

FRAME = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def choice(finish="stop", index=0, **message):
    return {"index": index, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}


def heard(events, *before):
    assembly = StreamAssembler()
    for event in [*before, *map(json.loads, events)]:
        assembly.add(event)
    return assembly.choices()


def test_a_whole_answer():
    events = render_stream([choice(content="{}", reasoning_content="hm")], [], FRAME)
    first = json.loads(events[0])
    assert {name: first[name] for name in FRAME} == FRAME
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    (again,) = heard(events)
    assert (again["message"]["content"], again["message"]["reasoning_content"]) == ("{}", "hm")
    assert again["finish_reason"] == "stop"


def test_a_cut_call_beside_a_changed_choice_is_told_as_it_is():
    cut = choice("length", tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "{"}}])
    gone = {**cut, "finish_reason": None}
    (last,) = render_stream([cut], [gone], FRAME)
    assert json.loads(last)["choices"][0]["finish_reason"] == "length"


def test_a_choice_that_has_left_is_not_finished_twice():
    gone = [choice(content="Hi")]
    events = render_stream([choice(content="Hi"), choice(index=1, content="{}")], gone, FRAME)
    assert {part["index"] for event in events for part in json.loads(event)["choices"]} == {1}


def test_calls_have_their_index_and_their_name_once():
    events = render_stream([choice("tool_calls", tool_calls=[CALL, {**CALL, "id": "d"}])], [], FRAME)
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    assert [delta["tool_calls"][0]["index"] for delta in deltas if "tool_calls" in delta] == [0, 1]
    (again,) = heard(events)
    assert [one["id"] for one in again["message"]["tool_calls"]] == ["c", "d"]
    assert again["finish_reason"] == "tool_calls"


def test_what_has_left_is_not_told_twice():
    left = [choice(None, content="Let me see.", tool_calls=[{**CALL, "function": {"name": "f", "arguments": '{"a"'}}])]
    whole = choice("length", content="Let me see.", tool_calls=[CALL])
    deltas = [json.loads(event)["choices"][0] for event in render_stream([whole], left, FRAME)]
    assert [one["delta"] for one in deltas] == [
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
        {},
    ]
    assert deltas[-1]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("after", "left"),
    [
        (choice(content="{}"), choice(None, content="```")),
        (choice(tool_calls=[{**CALL, "id": "new"}]), choice(None, tool_calls=[CALL])),
        (choice(content="{}"), choice(None, tool_calls=[CALL])),
    ],
)
def test_what_has_left_cannot_be_taken_back(after, left):
    with pytest.raises(StructuredOutputViolation, match="already sent"):
        render_stream([after], [left], FRAME)


def test_a_completion():
    after, left = {"index": 0, "text": "abc", "finish_reason": "stop"}, {"index": 0, "text": "a", "finish_reason": None}
    (event,) = render_stream([after], [left], FRAME)
    assert json.loads(event)["choices"] == [{"index": 0, "logprobs": None, "text": "bc", "finish_reason": "stop"}]


@given(st.text(), st.text(), st.text())
def test_what_left_and_what_is_told_are_the_answer(left, rest, thought):
    before = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": left, "reasoning_content": thought}}]}
    whole = choice(content=left + rest, reasoning_content=thought)
    (again,) = heard(render_stream([whole], heard([], before), FRAME), before)
    assert again["message"]["content"] == left + rest
    assert again["message"]["reasoning_content"] == thought


def test_fields_that_are_unknown_here_are_told_again():
    call = {**CALL, "extra_content": {"google": {"thought_signature": "S"}}}
    call["function"] = {**CALL["function"], "thought_signature": "U"}
    whole = choice(content="{}", annotations=[1, 2], tool_calls=[call]) | {"native_finish_reason": "STOP"}
    assert heard(render_stream([whole], [], FRAME)) == [whole | {"message": whole["message"] | {"refusal": None}}]


def test_of_unknown_fields_only_what_is_missing_is_told():
    sent = choice(None, content="{", annotations=[1], thought_signature="T")
    whole = choice(content="{}", annotations=[1, 2], thought_signature="T")
    deltas = [json.loads(event)["choices"][0]["delta"] for event in render_stream([whole], [sent], FRAME)]
    assert deltas == [{"annotations": [2]}, {"content": "}"}, {}]


def test_thoughts_that_became_the_content_stay_where_they_have_left():
    sent = choice(None, content=None, reasoning_content="{}")
    deltas = [
        json.loads(event)["choices"][0]["delta"] for event in render_stream([choice(content="{}")], [sent], FRAME)
    ]
    assert deltas == [{"content": "{}"}, {}]


def test_what_else_the_held_events_had_is_in_the_first_one():
    held = [json.dumps({**FRAME, "choices": [], "provider": "p", "usage": None}).encode()]
    first, *rest = map(json.loads, render_stream([choice(content="{}")], [], FRAME, held))
    assert first["provider"] == "p"
    assert not any("provider" in event or "usage" in event for event in rest)
