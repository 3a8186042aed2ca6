"""The judge of whole answers by their logprobs, and what all judges have in common."""

from __future__ import annotations

import json
from typing import Any

import pytest

from router.decision import Confidence, Judgement
from router.errors import UpstreamRejected
from router.judge import base
from router.judge.base import JudgedCall
from router.judge.logprob import LogprobJudge
from router.judge.logprobs import without_logprobs
from tests.support.confidence import SURE, UNSURE, choice
from tests.support.fakes import call
from tests.support.judging import Rule

REFUSED = UpstreamRejected(400, {"message": "logprobs are not supported"})


def judge(rule: Rule, *, has_logprobs: bool = True, is_structured: bool = False, **fields: Any) -> LogprobJudge:
    return LogprobJudge(JudgedCall(call(**fields), rule, has_logprobs, is_structured))


def body(*choices: dict[str, Any]) -> bytes:
    return json.dumps({"id": "x", "choices": choices}).encode()


def judged(one: LogprobJudge, *choices: dict[str, Any]) -> Judgement:
    one.judge(json.loads(one.read(body(*choices)))["choices"])
    [found] = one.judgements
    return found


def confidence_of(found: Judgement) -> Confidence:
    assert found.confidence is not None
    return found.confidence


def test_a_sure_answer_is_accepted_and_an_unsure_one_is_not() -> None:
    rule = Rule()
    one, other = judge(rule), judge(rule)
    assert not one.accepted, "nothing was judged yet"
    assert judged(one, choice("Paris.", SURE)).accepted
    assert not judged(other, choice("Rome?", UNSURE)).accepted
    assert (one.accepted, other.accepted) == (True, False)
    assert [asked[2:] for asked in rule.asked] == [(False, False)] * 2, "neither a beginning nor a vote"


def test_the_rule_gets_the_log_odds_of_the_whole_answer() -> None:
    found = judged(judge(Rule()), choice("Paris.", SURE))
    assert confidence_of(found).total == SURE
    assert found.score == confidence_of(found).score


def test_the_least_sure_choice_counts() -> None:
    assert confidence_of(judged(judge(Rule(), n=2), choice("a", SURE), choice("b", UNSURE, 1))).total == UNSURE


def test_a_choice_that_says_nothing_of_itself_makes_the_answer_unknown() -> None:
    for choices in ([choice("a", SURE), choice("b", None, 1)], [choice("a", SURE)]):
        found = judged(judge(Rule(), n=2), *choices)
        assert (found.score, found.confidence) == (None, None)


def test_of_a_form_only_the_values_count() -> None:
    tokens = [{"token": text, "logprob": at} for text, at in (('{"a": ', UNSURE), ("1", SURE), ("}", SURE))]
    formed = {**choice('{"a": 1}', None), "logprobs": {"content": tokens}}
    free = confidence_of(judged(judge(Rule()), formed))
    of_form = confidence_of(judged(judge(Rule(), is_structured=True), formed))
    assert (free.tokens, dict(free.fields)) == (3, {})
    assert list(of_form.fields) == ["/a"]
    assert of_form.total > free.total


def test_a_call_is_a_form_whether_or_not_one_was_asked_for() -> None:
    made = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}]
    found = judged(judge(Rule()), choice('{"a": 1}', SURE, tool_calls=made))
    assert list(confidence_of(found).fields) == ["/a"]


def test_of_a_very_long_form_all_tokens_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_VALUE_TOKENS", 0)
    assert dict(confidence_of(judged(judge(Rule(), is_structured=True), choice('{"a": 1}', SURE))).fields) == {}


# --- what is asked for, and what is taken out again


def test_logprobs_are_asked_for_and_taken_out_where_the_client_did_not_ask() -> None:
    one, answer = judge(Rule()), body(choice("Paris.", SURE))
    assert one.adapt(call()).body["logprobs"] is True
    assert one.read(answer) == without_logprobs(answer) != answer


def test_a_client_that_asked_keeps_them() -> None:
    asks, answer = call(logprobs=True), body(choice("Paris.", SURE))
    one = judge(Rule(), logprobs=True)
    assert one.adapt(asks) is asks
    assert one.read(answer) is answer


def test_a_model_that_cannot_tell_them_is_not_asked_and_not_known() -> None:
    one, asked = judge(Rule(), has_logprobs=False), call()
    assert one.adapt(asked) is asked
    assert judged(one, choice("Paris.", SURE)).score is None


def test_an_echoed_prompt_s_logprobs_are_not_the_answer_s() -> None:
    asked = call(endpoint="completions", prompt="x", messages=None, echo=True, logprobs=1)
    one = LogprobJudge(JudgedCall(asked, Rule(), True, False))
    assert one.adapt(asked) is asked
    assert judged(one, choice("Paris.", SURE)).score is None


def test_an_answer_is_not_chosen_among_choices() -> None:
    answer = {"choices": [choice("a", SURE), choice("b", SURE, 1)]}
    assert judge(Rule()).choose(answer) is answer


# --- errors


def test_a_refusal_of_what_the_judge_has_added_is_not_the_client_s() -> None:
    one = judge(Rule())
    assert not one.caused(REFUSED), "nothing was added yet"
    one.adapt(call())
    assert one.caused(REFUSED)
    assert not one.caused(UpstreamRejected(400, {"message": "no such thing"}))


def test_a_refusal_of_what_the_client_wrote_is_its_own() -> None:
    one = judge(Rule(), logprobs=True)
    one.adapt(call(logprobs=True))
    assert not one.caused(REFUSED)


@pytest.mark.parametrize(
    ("threshold", "least"), [(0.2, "0.80"), (0.0, "1.00"), (-0.5, "1.00"), (1.5, "0.00"), (float("inf"), "0.00")]
)
def test_the_error_says_how_likely_the_answer_is_good_and_how_likely_it_must_be(threshold: float, least: str) -> None:
    one = judge(Rule(gain=0.86, threshold=threshold))
    judged(one, choice("Rome?", UNSURE))
    error = one.low_confidence_error()
    assert error.message == (
        "The answer of model 'slm' is as good as the fallback's with a probability of 0.14; "
        f"at least {least} is required."
    )
    assert (error.status, error.code, error.param) == (502, "confidence_too_low", "routing.min_confidence")
