"""After the first content there is no other answer: a broken stream says so and never ends as if it were whole."""

from __future__ import annotations

import json

import pytest

from tests.support.behaviours import CUT, HANG, RESET, Behaviour, Forever, Pause, stream
from tests.support.lanes import LONG, Lane, Plan, usual
from tests.support.stream_events import DONE, chunk, delta, finished, first, usage_event, usage_of

LIMIT_S = 4
"""comes when the stream has begun, on a busy machine too"""


def describe(plan: Plan) -> None:
    usual(plan)
    plan.slm("idle", timeouts=LONG | {"idle_s": 0.4})
    plan.route("auto-idle", "idle", "llm")
    plan.slm("limited", timeouts=LONG | {"total_s": LIMIT_S})
    plan.route("short", "limited", "llm")


BEGUN = (first(), delta("Once upon"))
DRIP = Forever(delta("x"), Pause(0.05))
BREAKS: dict[str, tuple[Behaviour, str]] = {
    "cut": (stream(*BEGUN, CUT), "upstream_error"),
    "cut inside an event": (stream(*BEGUN, b'data: {"id": "chatcmpl-1", "choi', CUT), "upstream_error"),
    "reset": (stream(*BEGUN, Pause(0.05), RESET), "upstream_error"),
    "ends without finish_reason": (stream(*BEGUN), "upstream_error"),
    "done without finish_reason": (stream(*BEGUN, DONE), "upstream_error"),
    "an event that is not json": (stream(*BEGUN, b"data: {oops\n\n", finished(), DONE), "upstream_error"),
    "an event that is no object": (stream(*BEGUN, b"data: 7\n\n", finished(), DONE), "upstream_error"),
    "an error event": (stream(*BEGUN, {"error": {"message": "out of memory", "code": 500}}, DONE), "upstream_error"),
}
STALLS: dict[str, tuple[Behaviour, str]] = {
    "idle": (stream(*BEGUN, HANG), "upstream_timeout"),
    "only comments": (stream(*BEGUN, Forever(b": ping\n\n", Pause(0.05))), "upstream_timeout"),
}


@pytest.mark.parametrize("kind", BREAKS | STALLS)
def test_a_break_is_an_error_event_and_no_done(lane: Lane, kind: str) -> None:
    behaviour, code = (BREAKS | STALLS)[kind]
    small, route = ("idle", "auto-idle") if kind in STALLS else ("slm", "auto")
    lane.site(small).then(behaviour)
    streamed = lane.stream(route)
    assert streamed.status == 200
    transcript = streamed.transcript
    assert transcript.text == "Once upon"
    assert transcript.error is not None
    assert transcript.error["code"] == code
    assert {"message", "type", "param", "code"} <= set(transcript.error)
    assert not transcript.done
    assert transcript.finish_reasons == []
    assert transcript.order[-1] == "event", "nothing follows the error"
    assert lane.llm.calls == []
    outcome = "timeout" if code == "upstream_timeout" else "upstream_error"
    lane.expect(1, "requests_total", route=route, model=lane.name(small), outcome=outcome)


@pytest.mark.parametrize(
    "odd",
    [
        chunk([{"index": 0, "delta": None, "finish_reason": None}]),
        chunk([{"index": 0, "finish_reason": None}]),
        chunk([{"delta": {"content": "x"}, "finish_reason": None}]),
        {"id": "x", "object": "chat.completion.chunk", "choices": None},
        {"object": "something.else"},
    ],
    ids=["null delta", "no delta", "no index", "null choices", "no choices"],
)
def test_odd_events_break_nothing(lane: Lane, odd: dict[str, object]) -> None:
    lane.slm.then(stream(*BEGUN, odd, finished(), DONE))
    streamed = lane.stream()
    assert streamed.status == 200
    assert streamed.response.content.rstrip().endswith(b"[DONE]")
    assert {**odd, "choices": odd.get("choices") or []} in streamed.transcript.events


@pytest.mark.parametrize("odd", [[], 7, "text", {"choices": 7}, {"choices": [7]}, {"choices": ["x"]}], ids=repr)
def test_senseless_events_end_in_a_clean_error_or_pass(lane: Lane, odd: object) -> None:

    lane.slm.then(stream(*BEGUN, b"data: " + json.dumps(odd).encode() + b"\n\n", finished(), DONE))
    streamed = lane.stream()
    assert streamed.status == 200
    content = streamed.response.content.rstrip()
    assert content.endswith(b"[DONE]") or b'"error"' in content.rsplit(b"data: ", 1)[1]


@pytest.mark.parametrize("odd", [[], 7, {"choices": 7}, {"choices": [7]}, {"choices": ["x"]}], ids=repr)
def test_senseless_first_events_escalate_or_pass(lane: Lane, odd: object) -> None:

    lane.slm.then(stream(b"data: " + json.dumps(odd).encode() + b"\n\n", *BEGUN, finished(), DONE))
    assert lane.stream().transcript.done


def test_missing_one_choices_finish_is_a_break(lane: Lane) -> None:
    lane.slm.then(stream(first(), delta("a"), delta("b", index=1), finished(), DONE))
    transcript = lane.stream(n=2).transcript
    assert transcript.error is not None
    assert not transcript.done


@pytest.mark.parametrize("kind", ["slm", "auto", "idle"])
@pytest.mark.parametrize("usage", [(), (usage_event(usage_of(10, 2)),)], ids=["no usage", "usage"])
def test_a_break_after_the_finish_is_no_break(lane: Lane, kind: str, usage: tuple[object, ...]) -> None:
    behaviour = stream(*BEGUN, finished(), *usage, HANG if kind == "idle" else CUT)
    lane.site("slm" if kind == "auto" else kind).then(behaviour)
    transcript = lane.stream(kind).transcript
    assert transcript.text == "Once upon"
    assert transcript.finish_reasons == ["stop"]
    assert transcript.done
    assert transcript.error is None


def test_the_total_limit_holds_for_a_stream_that_drips(lane: Lane) -> None:
    lane.site("limited").then(stream(*BEGUN, DRIP))
    transcript = lane.stream("short").transcript
    assert transcript.error is not None
    assert transcript.error["code"] == "upstream_timeout"
    assert not transcript.done
    lane.site("limited").last.wait_closed()


def test_the_connection_to_a_hung_upstream_is_closed(lane: Lane) -> None:
    lane.site("idle").then(stream(*BEGUN, HANG))
    assert lane.stream("auto-idle").transcript.error is not None
    lane.site("idle").last.wait_closed()


def test_a_clients_deadline_ends_a_stream_in_the_middle(lane: Lane) -> None:
    lane.slm.then(stream(*BEGUN, DRIP))
    transcript = lane.stream(routing={"deadline_ms": LIMIT_S * 1000}).transcript
    assert transcript.error is not None
    assert not transcript.done
