"""Logprobs of completions that have the form of chats."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.judge.logprobs import tokens_of
from router.upstream.completion_logprobs import CompletionLogprobs
from tests.support.servers import LlamaServer

TOKENS = [LlamaServer.token(" Paris", -0.25), LlamaServer.token(".\n", -0.5)]


def event(text: str, tokens: list[dict[str, Any]] | None, index: int = 0) -> bytes:
    choice = {"text": text, "index": index, "logprobs": tokens and {"content": tokens}, "finish_reason": None}
    return json.dumps({"id": "c", "choices": [choice], "seed": 2**63}).encode()


def test_offsets_go_on_from_event_to_event_for_each_choice() -> None:
    rewrite = CompletionLogprobs()
    events = [event(" Paris", TOKENS[:1]), event("é", TOKENS[:1], 1), event(".\n", TOKENS[1:]), event("", None)]
    choices = [json.loads(rewrite(one))["choices"][0] for one in events]
    assert [choice["logprobs"] and choice["logprobs"]["text_offset"] for choice in choices] == [[0], [0], [6], None]


def test_all_else_stays() -> None:
    before, after = json.loads(event("x", TOKENS)), json.loads(CompletionLogprobs()(event("x", TOKENS)))
    assert after["choices"][0].pop("logprobs") != before["choices"][0].pop("logprobs")
    assert after == before


def test_the_judge_reads_the_same_tokens() -> None:
    body = LlamaServer.text(" Paris.\n", TOKENS)
    [before], [after] = tokens_of(body), tokens_of(CompletionLogprobs()(body))
    assert [(one.token, one.logprob) for one in after] == [(one.token, one.logprob) for one in before]


@pytest.mark.parametrize(
    "answer",
    [
        b"[DONE]",
        event("x", None),
        b'{"choices": [{"text": "\\"content\\":"}]}',
        b'{"error": {"message": "x", "content": 1}}',
        b'{"choices": [{"logprobs": {"content": null}}]}',
        b'{"choices": [{"logprobs": {"content": [{"token": 1}]}}]}',
        b'{"choices": {"content": 1}}',
        b'{"choices": [1], "content": ',
    ],
)
def test_what_has_none_that_can_be_read_stays_as_it_is(answer: bytes) -> None:
    rewritten = CompletionLogprobs()(answer)
    assert rewritten == answer or json.loads(rewritten) == json.loads(answer)


@given(st.binary(max_size=40).map(lambda data: b'{"content":' + data))
def test_nothing_is_too_strange(answer: bytes) -> None:
    assert CompletionLogprobs()(answer) == answer
