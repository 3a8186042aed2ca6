"""`policy: cascade`: the small model's answer is looked at before the client sees it."""

from __future__ import annotations

import pytest

from tests.support.behaviours import Behaviour, Forever, Pause, answer, error, respond, stream
from tests.support.caller import Caller
from tests.support.lanes import LLM_PRICE, SLM_PRICE, Lane, Plan
from tests.support.stream_events import delta, first, usage_of

SURE, UNSURE = answer("Paris.", logprob=-0.02), answer("Rome?", logprob=-1.5)
LARGE = answer("From the large one.")
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORM = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA}}


def describe(plan: Plan) -> None:
    plan.slm()
    plan.slm("expert")
    plan.llm()
    plan.route("auto", "slm", "llm", policy="cascade", min_confidence=0.8)
    plan.route("usual", "slm", "llm")
    plan.route("side", "slm", "llm", policy="cascade", hold="whole")
    plan.routes[plan.name("side")]["ladder"] = [[plan.name("slm"), plan.name("expert")], plan.name("llm")]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_sure_answer_is_the_client_s(lane: Lane, streamed: bool) -> None:
    lane.slm.always(SURE)
    reply = lane.stream() if streamed else lane.chat()
    assert (reply.said("model"), reply.said("reason"), reply.said("attempts")) == (lane.name("slm"), "cascade", "1")
    assert float(reply.said("confidence")) == pytest.approx(0.98, abs=0.001)
    assert lane.llm.calls == []


@pytest.mark.parametrize("streamed", [False, True])
def test_an_unsure_one_is_never_seen(lane: Lane, streamed: bool) -> None:
    lane.slm.always(UNSURE)
    lane.llm.always(LARGE)
    if streamed:
        streamed_reply = lane.stream()
        lane.assert_escalated(streamed_reply, "confidence")
        assert streamed_reply.transcript.text == "From the large one."
    else:
        reply = lane.chat()
        lane.assert_escalated(reply, "confidence")
        assert reply.text == "From the large one."
    lane.expect(1, "escalations_total", reason="confidence")


@pytest.mark.parametrize("streamed", [False, True])
def test_logprobs_are_asked_for_and_not_passed_on(lane: Lane, streamed: bool) -> None:
    lane.slm.always(SURE)
    reply = lane.stream() if streamed else lane.chat()
    assert lane.slm.last.json["logprobs"] is True
    assert b'"token"' not in reply.response.content


def test_a_client_that_asks_for_logprobs_gets_them(lane: Lane) -> None:
    lane.slm.always(SURE)
    told = lane.chat(logprobs=True).json["choices"][0]["logprobs"]
    assert [token["token"] for token in told["content"]] == ["Paris."]


def test_completions_are_judged_too(lane: Lane) -> None:
    lane.slm.always(UNSURE)
    lane.llm.always(LARGE)
    assert lane.complete().status == 200
    assert lane.slm.last.json["logprobs"] == 1


def test_both_answers_are_paid_and_the_saving_tells_so(lane: Lane) -> None:
    used = usage_of(1_000_000, 1_000_000)
    lane.slm.always(answer("Rome?", logprob=-1.5, usage=used))
    lane.llm.always(answer("Paris.", usage=used))
    reply = lane.chat()
    small, large = (
        sum(price[f"{kind}_usd_per_mtok"] for kind in ("input", "output")) for price in (SLM_PRICE, LLM_PRICE)
    )
    assert float(reply.dollars("cost-usd")) == pytest.approx(small + large)
    assert float(reply.dollars("saved-usd")) == pytest.approx(-small)


def test_where_the_large_one_fails_the_unsure_answer_is_better_than_none(lane: Lane) -> None:
    lane.slm.always(UNSURE)
    lane.llm.always(error(500))
    reply = lane.chat()
    assert (reply.status, reply.text, reply.said("reason")) == (200, "Rome?", "unsure: upstream_error")
    assert lane.stream().transcript.text == "Rome?"


def test_a_client_that_demands_more_gets_an_error_instead(lane: Lane) -> None:
    lane.slm.always(UNSURE)
    reply = lane.chat(routing={"min_confidence": 0.5, "allow_fallback": False})
    assert (reply.status, reply.error["code"], reply.error["param"]) == (
        502, "confidence_too_low", "routing.min_confidence"
    )  # fmt: skip


def test_the_client_says_what_is_enough(lane: Lane) -> None:
    lane.slm.always(UNSURE)
    lane.llm.always(LARGE)
    assert lane.chat(routing={"min_confidence": 0.2}).text == "Rome?"
    assert lane.chat("usual").text == "Rome?"
    assert lane.chat("usual", routing={"policy": "cascade"}).text == "From the large one."
    assert lane.chat("usual", routing={"min_confidence": 0.9}).text == "From the large one."


def test_a_pinned_model_answers_as_it_is(lane: Lane) -> None:
    lane.slm.always(UNSURE)
    assert lane.chat("slm").text == "Rome?"
    assert lane.chat("slm", routing={"min_confidence": 0.5}).text == "Rome?", "it is its own fallback"


def formed(of_value: float) -> Behaviour:
    """Answer with a form of which only the value is as sure as that."""
    tokens = [('{"', -0.9), ("city", -0.9), ('": "', -0.9), ("Paris", of_value), ('"}', -0.01)]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "".join(text for text, _ in tokens)},
        "logprobs": {"content": [{"token": text, "logprob": logprob} for text, logprob in tokens]},
        "finish_reason": "stop",
    }
    return respond(200, {"id": "chatcmpl-1", "choices": [choice], "usage": usage_of(10, 5)})


def test_of_a_formed_answer_its_values_decide(lane: Lane) -> None:
    lane.slm.always(formed(-0.01))
    assert lane.chat(response_format=FORM).said("model") == lane.name("slm")
    lane.slm.always(formed(-2.0))
    lane.llm.always(answer('{"city": "Rome"}'))
    assert lane.chat(response_format=FORM).said("model") == lane.name("llm")


def test_experts_side_by_side_stand_in_for_each_other(lane: Lane) -> None:
    lane.slm.always(error(500))
    lane.site("expert").always(SURE)
    reply = lane.chat("side")
    assert (reply.said("model"), reply.said("attempts")) == (lane.name("expert"), "2")
    assert lane.llm.calls == []


def test_a_client_that_leaves_while_its_answer_is_held_stops_the_model(lane: Lane) -> None:
    lane.slm.always(stream(first(), Forever(delta("x"), Pause(0.01))))
    with Caller(lane.gateway, lane.body(stream=True)) as caller:
        call = lane.slm.wait_for_calls(1)[0]
        caller.leave()
        call.wait_closed()
    lane.gateway.assert_idle()
    assert lane.llm.calls == []
