"""What becomes of a small model's answer that has to be sure enough."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from router.decision import Decision
from router.errors import BadRequest, LowConfidence, StructuredOutputViolation, UpstreamFailed
from router.policy.cascade import Cascade
from router.policy.guarantee import Guarantee
from server.observability import decision_log
from tests.support.confidence import (
    FORM,
    SURE,
    UNSURE,
    choice,
    early,
    gateway,
    said,
    sure,
    text_of,
    unsure,
    whole,
)
from tests.support.fakes import (
    answers,
    large,
    model,
    refuses,
)
from tests.support.inprocess import Dispatching


async def test_a_sure_answer_is_accepted_and_says_how_sure() -> None:
    one = gateway(sure())
    [body] = await one.ask()
    assert text_of(body) == "Paris."
    assert one.headers["model"] == "slm"
    assert one.headers["reason"] == "cascade"
    assert float(one.headers["confidence"]) == pytest.approx(0.951, abs=0.001)
    one.all_is_released()


async def test_an_unsure_answer_is_thrown_away_and_the_next_rung_asked() -> None:
    one = gateway(unsure())
    [body] = await one.ask()
    assert text_of(body) == "From the large one."
    assert one.steps == [("slm", "llm", "confidence")]
    assert one.tried == [("slm/0", "confidence"), ("llm/0", "")]
    assert one.headers["reason"] == "confidence"
    assert "confidence" not in one.headers, "the large model's answer is not judged"
    assert one.record.usage is one.record.attempts[1].usage
    assert one.pools["slm"].replicas[0].breaker.failures == 0, "being unsure is no fault of the replica"
    one.all_is_released()


async def test_logprobs_are_asked_for_and_taken_out_again() -> None:
    one = gateway(sure())
    [body] = await one.ask()
    assert one.upstream.sent[0].body["logprobs"] is True
    assert json.loads(body)["choices"][0]["logprobs"] is None


async def test_a_client_that_asked_for_logprobs_keeps_them() -> None:
    one = gateway(sure())
    [body] = await one.ask(logprobs=True, top_logprobs=3)
    assert one.upstream.sent[0].body["top_logprobs"] == 3
    assert json.loads(body)["choices"][0]["logprobs"] == said("Paris.", SURE)


async def test_the_large_model_is_asked_as_the_client_asked() -> None:
    one = gateway(unsure())
    await one.ask()
    assert "logprobs" not in one.upstream.sent[1].body


async def test_of_several_answers_the_least_sure_one_counts() -> None:
    one = gateway(whole(choice("a", SURE), choice("b", UNSURE, 1)))
    one.script["llm-0"] = [whole(choice("c", None), choice("d", None, 1))]
    [body] = await Dispatching(script=one.script, settings={"policy": "cascade"}).ask(n=2)
    assert text_of(body) == "c"


async def test_where_the_fallback_fails_the_unsure_answer_is_better_than_none() -> None:
    one = gateway(unsure(), large_says=refuses(500))
    [body] = await one.ask()
    assert text_of(body) == "Rome?"
    assert one.headers["model"] == "slm"
    assert one.headers["reason"] == "unsure: upstream_error"
    assert one.tried[0] == ("slm/0", "")
    assert one.record.usage == one.record.attempts[0].usage
    one.all_is_released()


async def test_where_the_fallback_refuses_the_unsure_answer_is_better_than_none() -> None:
    one = gateway(
        unsure(), large_says=refuses(400, {"error": {"message": "no such thing", "code": "odd\r\nx-evil: 1"}})
    )
    assert text_of((await one.ask())[0]) == "Rome?"
    assert one.headers["reason"] == "unsure: rejected", "what an upstream says is no header"


async def test_a_client_that_demands_a_confidence_gets_no_unsure_answer() -> None:
    one = gateway(unsure(), large_says=refuses(500))
    await one.fails(UpstreamFailed, routing={"min_confidence": 0.5})
    one = gateway(unsure())
    error = await one.fails(LowConfidence, routing={"min_confidence": 0.5, "allow_fallback": False})
    assert (error.status, error.code, error.param) == (502, "confidence_too_low", "routing.min_confidence")
    assert "0.14; at least 0.50" in error.message


async def test_a_demand_makes_a_fixed_route_look_at_the_confidence() -> None:
    one = gateway(unsure(), policy="fixed")
    assert text_of((await one.ask(routing={"min_confidence": 0.5}))[0]) == "From the large one."
    one = gateway(unsure(), policy="fixed")
    assert text_of((await one.ask(routing={"min_confidence": 0.1}))[0]) == "Rome?"


async def test_a_demand_that_the_named_policy_does_not_read_is_refused() -> None:
    error = await gateway().fails(BadRequest, routing={"policy": "heuristic", "min_confidence": 0.5})
    assert error.param == "routing.min_confidence"
    error = await gateway().fails(BadRequest, routing={"policy": "classifier"})
    assert error.param == "routing.policy"


@pytest.mark.parametrize("hold", ["none"])
async def test_a_demand_and_a_stream_that_does_not_wait_contradict_each_other(hold: str) -> None:
    error = await gateway().fails(BadRequest, stream=True, routing={"min_confidence": 0.5, "hold": hold})
    assert error.param == "routing.hold"


async def test_a_route_s_guarantee_is_not_the_client_s_to_void() -> None:
    one = gateway(guarantee=Guarantee(max_quality_loss=0.1))
    for hold in ("first", "none"):
        error = await one.fails(BadRequest, stream=True, routing={"hold": hold})
        assert error.param == "routing.hold"


async def test_no_confidence_at_all_is_accepted_where_none_is_demanded() -> None:
    one = gateway(whole(choice("Rome?", -300.0)))
    assert text_of((await one.ask(routing={"min_confidence": 0.0}))[0]) == "Rome?"


async def test_without_a_rung_above_the_answer_is_believed() -> None:
    one = gateway(unsure())
    assert text_of((await one.ask(routing={"allow_fallback": False}))[0]) == "Rome?"
    assert "logprobs" not in one.upstream.sent[0].body


async def test_a_model_that_tells_no_logprobs_is_not_believed() -> None:
    one = gateway(whole(choice("Rome?", None)))
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.record.judgements[0].score is None


async def test_a_model_declared_unable_to_tell_them_is_not_asked_for_them() -> None:
    mute = model(abilities=frozenset({"tools", "structured"}))
    one = Dispatching((mute, large()), {"slm-0": [answers("Rome?")]}, settings={"policy": "cascade"})
    assert text_of((await one.ask())[0]) == "Rome?"
    assert "logprobs" not in one.upstream.sent[0].body


@pytest.mark.parametrize("fields", [{}, {"echo": True}])
async def test_a_demand_is_not_met_by_who_cannot_tell(fields: dict[str, Any]) -> None:
    mute = model(abilities=frozenset({"tools", "structured", "completions"}))
    one = Dispatching((mute, large(abilities=mute.abilities)), {"slm-0": [answers("Rome?")]})
    one.script["llm-0"] = [answers("From the large one.")]
    one = Dispatching(one.models, one.script)
    asked = {"endpoint": "completions", "prompt": "x", "messages": None, **fields} if fields else {}
    await one.ask(routing={"min_confidence": 0.9}, **asked)
    assert one.headers["model"] == "llm"


async def test_a_prompt_that_is_echoed_says_nothing_of_the_answer() -> None:
    echoing = {"index": 0, "text": "x Paris", "finish_reason": "stop", "logprobs": {
        "tokens": ["x", " Paris"], "token_logprobs": [-0.1, -0.01], "top_logprobs": None}}  # fmt: skip
    able = frozenset({"tools", "structured", "completions", "logprobs"})
    script = {"slm-0": [whole(echoing)], "llm-0": [whole(echoing)]}
    one = Dispatching((model(), large(abilities=able)), script, settings={"policy": "cascade"})
    await one.ask(endpoint="completions", prompt="x", echo=True, logprobs=1)
    assert one.record.judgements[0].score is None


async def test_what_the_gateway_has_added_is_not_the_client_s_fault() -> None:
    refusal = refuses(400, {"error": {"message": "logprobs are not supported", "param": "logprobs"}})
    one = gateway(refusal)
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.steps == [("slm", "llm", "ability")]


async def test_what_the_client_asked_for_is_left_out_where_a_model_does_not_take_it() -> None:
    refusal = refuses(400, {"error": {"message": "logprobs are not supported", "param": "logprobs"}})
    one = gateway(refusal)
    await one.ask(logprobs=True)
    assert one.tried[0] == ("slm/0", "adapted")


async def test_a_form_is_checked_before_the_confidence() -> None:
    one = gateway(whole(choice("not JSON", SURE)), large_says=answers('{"a": 2}'))
    assert text_of((await one.ask(response_format=FORM))[0]) == '{"a": 2}'
    assert [reason for _, _, reason in one.steps] == ["structured"]
    assert one.record.judgements == []


async def test_of_a_formed_answer_only_its_values_count() -> None:
    tokens = [('{"a": ', UNSURE), ("1", SURE), ("}", SURE)]
    content = [{"token": text, "logprob": logprob, "bytes": None} for text, logprob in tokens]
    one = gateway(whole({**choice('{"a": 1}', None), "logprobs": {"content": content}}))
    assert text_of((await one.ask(response_format=FORM))[0]) == '{"a": 1}'
    confidence = one.record.judgements[0].confidence
    assert confidence is not None
    assert list(confidence.fields) == ["/a"]


async def test_an_unsure_answer_of_a_form_that_the_fallback_breaks_is_better_than_none() -> None:
    unsure_number = {**choice('{"a": 1}', None), "logprobs": {"content": [{"token": '{"a": 1}', "logprob": UNSURE}]}}
    one = gateway(whole(unsure_number), large_says=answers("no JSON"))
    assert text_of((await one.ask(response_format=FORM))[0]) == '{"a": 1}'
    assert one.headers["reason"] == "unsure: structured"
    assert one.headers["structured"] == "decoded"
    one = gateway(whole(unsure_number), large_says=answers("no JSON"))
    await one.fails(StructuredOutputViolation, response_format=FORM, routing={"min_confidence": 0.9})


# what the log tells


async def test_the_log_tells_all_that_a_decision_saw() -> None:
    one = gateway(unsure(), **early(0.9))
    await one.ask(routing={"task": "capitals"})
    told = msgspec.to_builtins(decision_log.learned_decision(one.record))
    seen = told["models"]["slm"]
    assert told["task"] == "auto/task:capitals"
    assert told["way"] == ["slm", "llm"]
    assert seen == {
        "threshold": 0.1, "accepts_all": False, "is_guaranteed": False, "price": 0.0, "value": 0.99999, "hint": 0.0,
        "expected_gain": 0.0,
    }  # fmt: skip
    [judged] = told["judged"]
    assert (judged["model"], judged["accepted"], judged["confidence"]["total"]) == ("slm", False, UNSURE)
    assert judged["gain"] == pytest.approx(0.96, abs=0.01)


async def test_the_log_tells_no_names_of_fields() -> None:
    number = {**choice('{"a": 1}', None), "logprobs": {"content": [{"token": '{"a": 1}', "logprob": UNSURE}]}}
    one = gateway(whole(number))
    await one.ask(response_format=FORM, routing={"min_confidence": 0.1})
    assert b'"/a"' not in msgspec.json.encode(decision_log.learned_decision(one.record))


async def test_of_other_policies_the_log_tells_nothing() -> None:
    one = gateway(sure(), policy="fixed")
    await one.ask()
    assert decision_log.learned_decision(one.record) is None


async def test_how_long_each_model_takes_is_told_to_the_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    one = gateway(unsure(), waiting_usd_per_hour=1.0)
    await one.ask()
    seen: list[Any] = []
    monkeypatch.setattr(
        Cascade, "decide", lambda self, *arguments: seen.append(dict(arguments[0].latencies)) or Decision(1, "x")
    )
    await one.ask()
    [waits] = seen
    assert set(waits) == {"slm", "llm"}
    assert all(0 <= seconds < 10 for seconds in waits.values())
