"""An answer that does not end is stopped, whole or streamed, and asked again or of the next rung."""

from __future__ import annotations

import pytest

from tests.support.behaviours import Forever, answer, stream
from tests.support.lanes import Lane, Plan, usual
from tests.support.stream_events import DONE, delta, finished, first, usage_event, usage_of

STRINGS = {"type": "array", "items": {"type": "string"}}
AS_STRINGS = {"type": "json_schema", "json_schema": {"name": "strings", "schema": STRINGS}}
VALID = '["red", "green"]'
REPEATED = '["' + "1.0.0/" * 200
ENDLESS = stream(first(), delta('["'), Forever(delta("ha")))


def describe(plan: Plan) -> None:
    usual(plan)
    plan.route("alone", "slm")
    plan.slm("mine", engine="llamacpp")  # it stops no text that repeats itself
    plan.route("over-mine", "mine", "llm")


def test_a_whole_answer_that_the_engine_cannot_stop_is_stopped_by_us(lane: Lane) -> None:
    mine = lane.site("mine")
    mine.always(ENDLESS)
    lane.llm.always(answer(VALID))
    reply = lane.chat("over-mine", response_format=AS_STRINGS)
    lane.assert_escalated(reply, "runaway", attempts=3)
    assert reply.text == VALID
    assert [call.wait_closed() for call in mine.calls] == [True, True], "nothing is generated for nobody"
    assert [call.json["stream"] for call in mine.calls] == [True, True]
    lane.expect(1, "escalations_total", route="over-mine", reason="runaway")
    assert lane.gateway.http.get("/ready").json()["models"][lane.name("mine")]["up"] == 1


def test_the_client_gets_a_whole_answer_of_what_was_read_as_a_stream(lane: Lane) -> None:
    events = (first(), delta('["red", '), delta('"green"]'), finished(), usage_event(usage_of(10, 7)), DONE)
    lane.site("mine").always(stream(*events))
    reply = lane.chat("over-mine", response_format=AS_STRINGS)
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["object"] == "chat.completion"
    assert reply.json["usage"] == usage_of(10, 7)
    assert reply.text == VALID
    assert reply.json["choices"][0]["finish_reason"] == "stop"
    assert reply.dollars("cost-usd") > 0
    assert lane.site("mine").last.json["stream_options"] == {"include_usage": True}


def test_a_whole_answer_that_vllm_stopped_is_asked_of_the_next_rung(lane: Lane) -> None:
    lane.slm.always(answer(REPEATED, finish="repetition"))
    lane.llm.always(answer(VALID))
    reply = lane.chat(response_format=AS_STRINGS)
    lane.assert_escalated(reply, "runaway", attempts=3)
    assert lane.slm.calls[0].json["repetition_detection"]["min_count"] == 32
    lane.expect(1, "escalations_total", reason="runaway")


def test_without_a_next_rung_it_is_an_error_that_says_so(lane: Lane) -> None:
    lane.slm.always(answer(REPEATED, finish="repetition"))
    reply = lane.chat("alone", response_format=AS_STRINGS)
    assert reply.status == 502
    assert reply.error["code"] == "structured_output_violation"
    assert "does not end" in reply.error["message"]


def test_a_stream_that_broke_off_in_a_repetition_says_so_after_its_beginning(lane: Lane) -> None:
    lane.slm.always(ENDLESS)
    reply = lane.stream(response_format=AS_STRINGS, routing={"stream_check": "prefix"})
    transcript = reply.transcript
    assert "does not end" in (transcript.error or {})["message"]
    assert not transcript.done
    assert lane.slm.last.wait_closed()


@pytest.mark.parametrize("streamed", [False, True])
def test_a_free_text_without_a_next_rung_was_cut(lane: Lane, streamed: bool) -> None:
    lane.slm.always(answer("ha ha ha", finish="repetition"))
    if streamed:
        transcript = lane.stream("alone").transcript
        assert (transcript.text, transcript.finish_reasons, transcript.done) == ("ha ha ha", ["length"], True)
    else:
        [choice] = lane.chat("alone").json["choices"]
        assert (choice["message"]["content"], choice["finish_reason"]) == ("ha ha ha", "length")


def test_a_free_text_is_asked_of_the_next_rung_at_once(lane: Lane) -> None:
    lane.slm.always(answer("ha ha ha", finish="repetition"))
    lane.assert_escalated(lane.chat(), "runaway")
