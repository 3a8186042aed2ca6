from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from router.judge.base import JudgedCall
from router.judge.logprobs import without_logprobs
from router.judge.stream import StreamJudge
from tests.support.confidence import SURE, UNSURE, piece
from tests.support.fakes import call, chunk
from tests.support.judging import Rule

TEXT = [{"index": 0, "message": {"role": "assistant", "content": "Paris."}}]
BROKEN = json.dumps({"choices": [{"index": 0, "logprobs": {"content": [{"token": "x", "logprob": None}]}}]}).encode()


def judge(
    rule: Rule, beginning: int = 0, *, has_logprobs: bool = True, is_structured: bool = False, **fields: Any
) -> StreamJudge:
    return StreamJudge(JudgedCall(call(stream=True, **fields), rule, has_logprobs, is_structured), beginning)


def read(one: StreamJudge, logprobs: Sequence[float]) -> None:
    """Read so many tokens, and judge the beginning after each, as the stream does."""
    for logprob in logprobs:
        one.read(piece("x", logprob))
        one.judge_beginning()


# --- the end


def test_a_stream_is_judged_by_all_its_tokens() -> None:
    rule = Rule()
    one = judge(rule)
    read(one, [SURE, UNSURE])
    assert rule.asked == []
    one.judge_end(TEXT)
    [(confidence, score, beginning, voted)] = rule.asked
    assert confidence is not None
    assert (confidence.tokens, confidence.total) == (2, SURE + UNSURE)
    assert (score, beginning, voted) == (confidence.score, False, False)


def test_events_leave_without_the_logprobs_that_only_the_judge_asked_for() -> None:
    event = piece("Pa", SURE)
    assert judge(Rule()).read(event) == without_logprobs(event) != event
    assert judge(Rule(), logprobs=True).read(event) is event


def test_a_token_that_cannot_be_read_makes_the_whole_stream_unknown() -> None:
    rule = Rule()
    one = judge(rule)
    for event in (piece("Pa", SURE), BROKEN, piece("ris", SURE)):
        one.read(event)
    one.judge_end(TEXT)
    assert rule.asked == [(None, None, False, False)]


@pytest.mark.parametrize("fields", [{"n": 2}, {"has_logprobs": False}])
def test_what_does_not_tell_all_is_unknown(fields: dict[str, Any]) -> None:
    rule = Rule()
    one = judge(rule, **fields)
    read(one, [SURE])
    one.judge_end(TEXT)
    assert rule.asked == [(None, None, False, False)]


def test_each_choice_has_its_own_tokens_and_the_least_sure_one_counts() -> None:
    rule = Rule()
    one = judge(rule, n=2)
    second = json.loads(piece("Ro", UNSURE))
    second["choices"][0]["index"] = 1
    for event in (piece("Pa", SURE), json.dumps(second).encode(), piece("ris", SURE)):
        one.read(event)
    one.judge_end([*TEXT, {"index": 1, "message": {"content": "Ro"}}])
    assert rule.asked[0][0] is not None
    assert rule.asked[0][0].total == UNSURE


# --- the beginning


def test_a_beginning_is_judged_once_it_is_long_enough_and_by_itself() -> None:
    rule = Rule()
    one = judge(rule, beginning=2)
    read(one, [SURE])
    assert rule.asked == []
    one.read(piece("x", SURE))
    one.read(piece("x", UNSURE))  # came in the same batch
    one.judge_beginning()
    [(confidence, _, beginning, _)] = rule.asked
    assert confidence is not None
    assert (confidence.tokens, confidence.total, beginning) == (2, 2 * SURE, True)
    assert one.accepted


def test_after_a_sure_beginning_nothing_more_is_judged() -> None:
    rule = Rule()
    one = judge(rule, beginning=1)
    read(one, [SURE, UNSURE, UNSURE])
    one.judge_end(TEXT)
    assert len(rule.asked) == 1
    assert one.accepted
    assert one.read(piece("x", SURE)) == without_logprobs(piece("x", SURE)), "logprobs are still taken out"


def test_after_an_unsure_beginning_the_end_decides() -> None:
    rule = Rule()
    one = judge(rule, beginning=1)
    read(one, [UNSURE, SURE])
    assert not one.accepted
    one.judge_end(TEXT)
    assert [asked[2] for asked in rule.asked] == [True, False], "a beginning is judged once"


@pytest.mark.parametrize(
    "fields", [{"beginning": 0}, {"is_structured": True}, {"n": 2}], ids=["not wanted", "a form", "two choices"]
)
def test_only_one_text_has_a_beginning_to_judge(fields: dict[str, Any]) -> None:
    rule = Rule()
    read(judge(rule, **{"beginning": 1, **fields}), [SURE, SURE])
    assert rule.asked == []


def test_a_beginning_of_which_a_part_cannot_be_read_is_not_judged() -> None:
    rule = Rule()
    one = judge(rule, beginning=2)
    one.read(BROKEN)
    read(one, [SURE, SURE])
    assert rule.asked == []


def test_events_without_tokens_make_no_beginning() -> None:
    rule = Rule()
    one = judge(rule, beginning=1)
    one.read(chunk("Pa"))
    one.judge_beginning()
    assert rule.asked == []
