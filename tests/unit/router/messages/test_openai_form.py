"""Answers of all kinds of servers, in OpenAI's form."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from router.messages.openai_form import put_in_form, put_message_in_form, without_vllms_empty_fields

MESSAGE = {"role": "assistant", "content": "Paris.", "refusal": None}
TEXT_LIKE_THE_EMPTY_FIELDS = ',"annotations":null,"audio":null,"function_call":null,"reasoning":null}'


def formed(message: dict[str, Any], finish: str = "stop") -> tuple[dict[str, Any], bool]:
    answer = {"choices": [{"index": 0, "message": deepcopy(message), "finish_reason": finish}]}
    changed = put_in_form(answer)
    return answer["choices"][0], changed


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"annotations": []},
        {"x_unknown": None, "extra_content": {}},
        {"reasoning_content": "Hm."},
    ],
)
def test_an_answer_in_form_is_not_touched(more: dict[str, Any]) -> None:
    choice, changed = formed(MESSAGE | more)
    assert not changed
    assert choice["message"] == MESSAGE | more


def test_an_answer_with_calls_ends_with_them() -> None:
    for calls, word in (({"tool_calls": [{"id": "a"}]}, "tool_calls"), ({"function_call": {}}, "stop")):
        choice, changed = formed(MESSAGE | {"content": None} | calls)
        assert (choice["finish_reason"], changed) == (word, True)
    choice, changed = formed(MESSAGE | {"tool_calls": [{"id": "a"}]}, "tool_calls")
    assert not changed


@pytest.mark.parametrize("empty", ["tool_calls", "function_call", "audio", "reasoning", "reasoning_content"])
@pytest.mark.parametrize("value", [None, []])
def test_what_is_empty_is_left_out(empty: str, value: object) -> None:
    choice, changed = formed(MESSAGE | {empty: value, "annotations": None})
    assert changed
    assert choice["message"] == MESSAGE


@pytest.mark.parametrize("older", [{}, {"tool_calls": []}])
@pytest.mark.parametrize("content", ["Paris.", TEXT_LIKE_THE_EMPTY_FIELDS])
def test_a_text_of_vllm_is_forwarded_without_its_empty_fields(older: dict[str, Any], content: str) -> None:
    message = MESSAGE | {"content": content}
    empty = {"annotations": None, "audio": None, "function_call": None, **older, "reasoning": None}
    answers = [
        {"choices": [{"index": 0, "message": one, "finish_reason": "stop", "stop_reason": None}], "usage": None}
        for one in (message, message | empty)
    ]
    wanted, sent = (json.dumps(answer, separators=(",", ":")).encode() for answer in answers)
    body = without_vllms_empty_fields(sent)
    assert body == wanted
    assert not put_in_form(json.loads(body))


def test_what_clients_read_without_asking_is_there() -> None:
    choice, changed = formed({"tool_calls": [{"id": "a"}]}, "tool_calls")
    assert changed
    assert choice["message"] == {"role": "assistant", "content": None, "refusal": None, "tool_calls": [{"id": "a"}]}


@pytest.mark.parametrize("name", ["reasoning", "thinking", "reasoning_content"])
def test_thoughts_have_one_name(name: str) -> None:
    message = {"content": "Paris.", name: "Hm."}
    put_message_in_form(message)
    assert message == {"content": "Paris.", "reasoning_content": "Hm."}


def test_thoughts_under_two_names_are_told_once() -> None:
    message = {
        "content": "Paris.",
        "reasoning": "Hm.",
        "reasoning_content": "Hm.",
        "reasoning_details": [{"text": "Hm."}],
    }
    assert put_message_in_form(message)
    assert message == {"content": "Paris.", "reasoning_content": "Hm.", "reasoning_details": [{"text": "Hm."}]}


def test_a_content_of_parts_is_a_text_and_thoughts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    message: dict[str, Any] = {
        "content": [thinking, {"type": "text", "text": "Pa"}, {"type": "text", "text": "ris."}, 7]
    }
    assert put_message_in_form(message)
    assert message == {"content": "Paris.", "reasoning_content": "Hm."}


def test_the_reason_of_the_end_is_one_of_the_five() -> None:
    assert formed(MESSAGE, "MAX_TOKENS")[0]["finish_reason"] == "length"
    choice, _ = formed(MESSAGE | {"content": None, "tool_calls": [{"id": "a"}]}, "end_turn")
    assert choice["finish_reason"] == "tool_calls"


def test_a_text_completion_keeps_its_fields() -> None:
    answer = {"choices": [{"index": 0, "text": "Paris", "finish_reason": "eos_token"}]}
    assert put_in_form(answer)
    assert answer == {"choices": [{"index": 0, "text": "Paris", "finish_reason": "stop"}]}
