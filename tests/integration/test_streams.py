"""Streams: what the upstream says reaches the client at once, whole, in order, and ends as it should."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from tests.support.behaviours import HANG, Gate, Pause, answer, raw, stream
from tests.support.caller import Caller
from tests.support.events import parse
from tests.support.lanes import Lane, Plan, usual
from tests.support.stream_events import DONE, chunk, delta, finished, first, split, sse, usage_event, usage_of

NANO = Decimal("0.000000001")
USAGE = usage_event(usage_of(10, 2))


def describe(plan: Plan) -> None:
    usual(plan)
    plan.slm("unpriced", price=None)
    plan.route("free", "unpriced", "llm")


def test_the_events_come_as_the_upstream_sent_them(lane: Lane) -> None:
    events = [
        first(),
        delta("Hé", x_unknown=[2**70]),
        chunk([{"index": 0, "delta": {"content": "\U0001f600"}, "logprobs": {"content": []}, "finish_reason": None}]),
        finished(),
    ]
    lane.slm.then(stream(*events, USAGE, DONE))
    streamed = lane.stream()
    assert streamed.status == 200
    assert streamed.transcript.events == events
    assert streamed.transcript.done


def test_headers_of_a_stream(lane: Lane) -> None:
    headers = lane.stream().headers
    assert headers["content-type"].split(";")[0] == "text/event-stream"
    assert headers["cache-control"] == "no-cache"
    assert headers["x-accel-buffering"] == "no"
    assert "content-encoding" not in headers
    assert len(headers.get_list("x-request-id")) == 1
    assert headers["x-smallfirst-model"] == lane.name("slm")
    assert headers["x-smallfirst-route"] == lane.name("auto")
    assert headers["x-smallfirst-reason"] == "fixed"
    assert headers["x-smallfirst-attempts"] == "1"


def test_usage_comes_only_when_asked_for(lane: Lane) -> None:
    assert lane.stream().transcript.usages == []
    assert lane.stream(stream_options={"include_usage": False}).transcript.usages == []
    transcript = lane.stream(stream_options={"include_usage": True}).transcript
    assert transcript.usages == [usage_of(10, 2)]
    assert transcript.events[-1]["choices"] == []
    assert transcript.events[-1]["usage"] == usage_of(10, 2)


def test_the_summary_comes_last_before_done(lane: Lane) -> None:
    lane.slm.then(answer(usage=usage_of(1234, 567)))
    transcript = lane.stream().transcript
    assert transcript.order[-2:] == ["comment", "done"]
    cost, fallback = (1234 * 50 + 567 * 100) * NANO, (1234 * 400 + 567 * 1600) * NANO
    assert transcript.summary["model"] == lane.name("slm")
    assert Decimal(str(transcript.summary["cost_usd"])) == cost
    assert Decimal(str(transcript.summary["saved_usd"])) == fallback - cost


def test_a_summary_without_a_price_does_not_say_zero(lane: Lane) -> None:
    summary = lane.stream("free").transcript.summary
    assert summary["cost_usd"] is None
    assert summary["saved_usd"] is None


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_bytes_may_be_split_anywhere(lane: Lane, size: int) -> None:
    text = "é漢\U0001f600\u2028\x85\x0b\x0c\x1e ok"
    data = b"".join(sse(event) for event in (first(), delta(text), finished())) + DONE
    steps = [part for piece in split(data, size) for part in (piece, Pause(0.0003))]
    lane.slm.then(stream(*steps))
    transcript = lane.stream().transcript
    assert transcript.text == text
    assert transcript.done


@pytest.mark.parametrize("size", [1, 4096])
def test_crlf_comments_and_data_of_several_lines(lane: Lane, size: int) -> None:
    pretty = json.dumps(delta("over lines"), indent=1).replace("\n", "\r\ndata: ")
    data = (
        ": ping\r\n\r\n"
        f"data: {json.dumps(first())}\r\n\r\n"
        ":\r\n"
        f"event: message\r\nid: 7\r\nretry: 10\r\ndata: {pretty}\r\n\r\n"
        ": another : comment\r\n\r\n\r\n"
        f"data:{json.dumps(finished())}\r\n\r\n"
        "data: [DONE]\r\n\r\n"
    ).encode()
    steps = [part for piece in split(data, size) for part in (piece, Pause(0.0003))]
    lane.slm.then(stream(*steps))
    transcript = lane.stream().transcript
    assert transcript.text == "over lines"
    assert transcript.done
    assert transcript.finish_reasons == ["stop"]


def test_lone_cr_ends_a_line_too(lane: Lane) -> None:
    data = b"".join(sse(event) for event in (first(), delta("cr"), finished())) + DONE
    lane.slm.then(stream(data.replace(b"\n", b"\r")))
    assert lane.stream().transcript.text == "cr"


@pytest.mark.parametrize("length", [70_000, 1_000_000])
def test_an_event_of_more_than_64_kb(lane: Lane, length: int) -> None:
    text = "漢" * (length // 3)
    lane.slm.then(stream(first(), delta(text), finished(), DONE))
    assert lane.stream().transcript.text == text


def test_an_event_reaches_the_client_before_the_next_one_exists(lane: Lane) -> None:
    gates = [Gate(), Gate()]
    lane.slm.then(stream(first(), delta("one"), gates[0], delta("two"), gates[1], finished(), DONE))
    with Caller(lane.gateway, lane.body(stream=True)) as caller:
        assert b'"one"' in caller.read_until(b'"one"')
        gates[0].set()
        assert b'"stop"' not in caller.read_until(b'"two"')
        gates[1].set()
        assert b"data: [DONE]" in caller.read_until(b"0\r\n\r\n")


def test_what_comes_with_done_is_not_held_back_by_a_connection_that_stays_open(lane: Lane) -> None:
    data = b"".join(sse(event) for event in (first(), delta("all at once"), finished())) + DONE
    lane.slm.then(stream(data, HANG))
    transcript = lane.stream().transcript
    assert transcript.text == "all at once"
    assert transcript.done


def test_the_connection_is_used_again_after_a_stream(lane: Lane) -> None:
    data = b"".join(sse(event) for event in (first(), delta("x"), finished())) + DONE
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    # its end comes with the rest: who had to wait for it would do so for a quarter of a second only
    lane.slm.always(raw(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)))
    for _ in range(4):
        assert lane.stream().transcript.done
    _, *others = lane.slm.calls
    assert all(call.came_behind_another for call in others), "no further connection was opened"


def test_an_upstream_that_omits_done_but_finished_is_whole(lane: Lane) -> None:
    lane.slm.then(stream(first(), delta("text"), finished()))
    transcript = lane.stream().transcript
    assert (transcript.text, transcript.done, transcript.error) == ("text", True, None)


def test_several_choices_interleave(lane: Lane) -> None:
    events = [first(), delta("a", index=1), delta("b"), finished(index=1), delta("c"), finished("length")]
    lane.slm.then(stream(*events, DONE))
    transcript = lane.stream(n=2).transcript
    assert transcript.events == events
    assert transcript.finish_reasons == ["stop", "length"]


def test_tool_call_deltas_keep_their_shape(lane: Lane) -> None:
    start = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    more = [{"index": 0, "function": {"arguments": part}} for part in ('{"ci', 'ty": "Pa', 'ris"}')]
    events = [first(), delta(tool_calls=[start]), *(delta(tool_calls=[part]) for part in more), finished("tool_calls")]
    lane.slm.then(stream(*events, DONE))
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    transcript = lane.stream(tools=tools).transcript
    assert transcript.events == events
    calls = [call for event in transcript.events for call in event["choices"][0]["delta"].get("tool_calls", ())]
    assert "".join(call["function"]["arguments"] for call in calls) == '{"city": "Paris"}'


def test_reasoning_is_content_and_is_kept(lane: Lane) -> None:
    gate = Gate()
    lane.slm.then(stream(first(), delta(reasoning_content="hmm"), gate, delta("42"), finished(), DONE))
    with Caller(lane.gateway, lane.body("slm", stream=True)) as caller:
        assert b'"hmm"' in caller.read_until(b'"hmm"')
        gate.set()
        caller.read_until(b"[DONE]")


def test_an_empty_answer_is_an_answer_where_nobody_else_can_be_asked(lane: Lane) -> None:
    lane.slm.then(stream(first(), finished("stop"), DONE))
    transcript = lane.stream("slm").transcript
    assert transcript.summary["reason"] == "unsure: empty"
    assert (transcript.text, transcript.finish_reasons, transcript.done) == ("", ["stop"], True)


def test_completions_stream(lane: Lane) -> None:
    lane.slm.then(answer(pieces=["Pa", "ris"], finish="length"))
    body = json.dumps({"model": lane.name("auto"), "prompt": "x", "stream": True})
    response = lane.post("/v1/completions", body)
    transcript = parse(response.content)
    assert transcript.text == "Paris"
    assert [event["object"] for event in transcript.events] == ["text_completion"] * 3
    assert (transcript.finish_reasons, transcript.done) == (["length"], True)
    assert transcript.summary["model"] == lane.name("slm")


def test_usage_on_every_event_is_relayed_and_the_last_is_what_counts(lane: Lane) -> None:
    events = [first() | {"usage": usage_of(10, 0)}, delta("a") | {"usage": usage_of(10, 1)}]
    events += [finished() | {"usage": usage_of(10, 2)}]
    lane.slm.then(stream(*events, usage_event(usage_of(10, 3)), DONE))
    options = {"include_usage": True, "continuous_usage_stats": True}
    transcript = lane.stream(stream_options=options).transcript
    assert lane.slm.last.json["stream_options"] == options
    assert transcript.usages[-1] == usage_of(10, 3)
    assert Decimal(transcript.summary["cost_usd"]) == (10 * 50 + 3 * 100) * NANO
