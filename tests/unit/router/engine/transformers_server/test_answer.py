"""An answer in OpenAI's form: what the events of its stream say together is what the whole answer says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from router.engine.transformers_server.answer import Answer
from router.engine.transformers_server.calls import RequiredCalls
from router.engine.transformers_server.events import Finished, Token, TokenLogprob

CALLS = RequiredCalls({"f": {"type": "object"}, "g": {"type": "object"}}, single=False, named=None)


def event(raw: bytes) -> dict[str, Any]:
    assert raw.startswith(b"data: ")
    assert raw.endswith(b"\n\n")
    return dict(json.loads(raw[6:]))


def deltas(answer: Answer, *events: Token | Finished) -> list[dict[str, Any]]:
    sent = [event(answer.token(one) if isinstance(one, Token) else answer.finish(one)) for one in events]
    for one in sent:
        ChatCompletionChunk.model_validate(one)
    return [one["choices"][0] for one in sent]


def whole(answer: Answer) -> dict[str, Any]:
    parsed = json.loads(answer.whole())
    ChatCompletion.model_validate(parsed)
    return dict(parsed)


def test_text() -> None:
    answer = Answer("tiny", 7, 3)
    sent = deltas(answer, Token(0, "Hel"), Token(0, ""), Token(0, "lo"), Finished(0, "!", "stop", 4))
    assert [choice["delta"] for choice in sent] == [
        {"role": "assistant", "content": "Hel"},
        {},
        {"content": "lo"},
        {"content": "!"},
    ]
    assert [choice["finish_reason"] for choice in sent] == [None, None, None, "stop"]
    [choice] = whole(answer)["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Hello!"}
    assert choice["finish_reason"] == "stop"
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    assert whole(answer)["usage"] == event(answer.usage_event())["usage"] == usage
    assert event(answer.usage_event())["choices"] == []


def test_an_answer_without_any_text() -> None:
    answer = Answer("tiny", 7, 3)
    assert deltas(answer, Finished(0, "", "stop", 1))[0]["delta"] == {"role": "assistant"}
    assert whole(answer)["choices"][0]["message"]["content"] == ""


def test_choices_are_told_apart() -> None:
    answer = Answer("tiny", 7, 3)
    events = [Token(0, "a"), Finished(0, "", "stop", 1), Token(1, "b"), Finished(1, "", "length", 2)]
    assert [choice["index"] for choice in deltas(answer, *events)] == [0, 0, 1, 1]
    choices = whole(answer)["choices"]
    assert [(choice["message"]["content"], choice["finish_reason"]) for choice in choices] == [
        ("a", "stop"),
        ("b", "length"),
    ]
    assert whole(answer)["usage"]["completion_tokens"] == 3


def test_logprobs() -> None:
    answer = Answer("tiny", 7, 3)
    best = [TokenLogprob("a", -0.5), TokenLogprob("b", -2.0)]
    [first, _] = deltas(answer, Token(0, "é", TokenLogprob("é", -3.0), best), Finished(0, "", "stop", 1))
    [told] = first["logprobs"]["content"]
    assert (told["token"], told["logprob"], told["bytes"]) == ("é", -3.0, [195, 169])
    assert [(one["token"], one["logprob"]) for one in told["top_logprobs"]] == [("a", -0.5), ("b", -2.0)]
    assert whole(answer)["choices"][0]["logprobs"] == {"content": [told]}


def test_calls() -> None:
    answer = Answer("tiny", 7, 3, CALLS)
    text = '[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {"a": 1}}]'
    sent = deltas(answer, *(Token(0, letter) for letter in text), Finished(0, "", "stop", 9))
    called = [call for choice in sent for call in choice["delta"].get("tool_calls", ())]
    assert [(call["index"], call["function"]) for call in called] == [
        (0, {"name": "f", "arguments": "{}"}),
        (1, {"name": "g", "arguments": '{"a": 1}'}),
    ]
    assert not any("content" in choice["delta"] for choice in sent)
    [choice] = whole(answer)["choices"]
    assert choice["finish_reason"] == sent[-1]["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert [call["id"] for call in choice["message"]["tool_calls"]] == [call["id"] for call in called]
    assert called[0]["id"] != called[1]["id"]


@pytest.mark.parametrize("text", ['[{"name": "f", "arguments": {"a', '[{"name": "f", "arguments": {}}, {"name": "g'])
def test_calls_that_the_token_limit_cut(text: str) -> None:
    answer = Answer("tiny", 7, 3, CALLS)
    sent = deltas(answer, Token(0, text), Finished(0, "", "length", 9))
    [choice] = whole(answer)["choices"]
    assert choice["finish_reason"] == "length"
    [call] = choice["message"]["tool_calls"]
    assert call["function"]["arguments"] in ('{"a', "{}")
    assert sum(len(one["delta"].get("tool_calls", ())) for one in sent) == 1
