from __future__ import annotations

from typing import Any

import pytest

from router.attempt.continuation.sent import CallSent, Sent
from router.messages.chat import CHAT
from router.messages.completions import COMPLETIONS
from router.types import Usage
from tests.support.cut_answers import FRAME, call_piece, delta, deltas, event, usage


def test_a_beginning() -> None:
    pieces = [{"reasoning": "Hm", "reasoning_content": "Hm"}, {"content": "Once"}, {"content": " "}, {"content": "\n"}]
    sent = Sent.of(deltas(pieces)[:-1], CHAT)
    assert (sent.content, sent.blank_tail, sent.blank_tokens, sent.thoughts) == ("Once \n", " \n", 2, "Hm")
    assert (sent.tokens, sent.frame, sent.finish_reason, sent.usage) == (4, FRAME, None, None)
    assert sent.has_answer
    assert not sent.has_other


def test_calls() -> None:
    pieces = [call_piece(0, "", "get"), call_piece(0, "{"), call_piece(1, "{}", "put")]
    sent = Sent.of(deltas(pieces, "tool_calls"), CHAT)
    assert sent.calls == {0: CallSent("get", "{"), 1: CallSent("put", "{}")}
    assert (sent.finish_reason, sent.has_answer) == ("tool_calls", True)


def test_thoughts_and_whitespace_are_no_answer() -> None:
    sent = Sent.of(deltas([{"reasoning": "Hm"}, {"content": "\n"}])[:-1], CHAT)
    assert not sent.has_answer


def test_the_frame_is_that_of_the_answer() -> None:
    before = b'{"id": "", "model": "", "choices": [], "prompt_filter_results": []}'
    assert Sent.of([before, delta(content="a")], CHAT).frame == FRAME


def test_fields_of_the_other_endpoint_are_not_read() -> None:
    assert Sent.of([event({"text": "a", "delta": {"content": "b"}})], COMPLETIONS).content == "a"
    assert Sent.of([event({"text": "a", "delta": {"content": "b"}})], CHAT).content == "b"


def test_usage_so_far() -> None:
    assert Sent.of([usage(3, 1)], CHAT).usage == Usage(3, completion=1)


@pytest.mark.parametrize(
    "odd",
    [
        {"delta": {"content": 7}},
        {"delta": {"audio": {"id": "x"}}},
        {"delta": {"refusal": "No."}},
        {"delta": {"tool_calls": [7]}},
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": {}}}]}},
        {"delta": {"function_call": {"name": 7}}},
        {"index": 1, "delta": {"content": "x"}},
        {"delta": {"content": "\ud83e"}},
        {"delta": {"reasoning": "\ud83e"}},
    ],
    ids=str,
)
def test_what_cannot_be_continued(odd: dict[str, Any]) -> None:
    assert Sent.of([delta(content="a"), event(odd)], CHAT).has_other


def test_what_cannot_be_read() -> None:
    assert Sent.of([delta(content="a"), b"7"], CHAT).has_other
