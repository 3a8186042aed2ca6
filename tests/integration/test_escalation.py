"""One rung up: when, why, and how the client and the counters learn of it. Also when not."""

from __future__ import annotations

import json
import time

import pytest

from tests.support.behaviours import (
    CUT,
    HANG,
    RESET,
    Behaviour,
    Call,
    Forever,
    Pause,
    answer,
    error,
    raw,
    respond,
    stream,
    too_long,
)
from tests.support.lanes import BRIEF, LONG, UPSTREAM_MODEL, Lane, Plan, usual
from tests.support.stream_events import DONE, delta, finished, first

LIMITS = ("total_s", "first_byte_s", "idle_s")


def describe(plan: Plan) -> None:
    usual(plan)
    plan.slm("brief", timeouts=BRIEF)
    plan.route("auto-brief", "brief", "llm")
    for limit in LIMITS:
        plan.slm(f"brief-{limit}", timeouts=LONG | {limit: BRIEF[limit]})
        plan.route(f"auto-brief-{limit}", f"brief-{limit}", "llm")


SAID = "from the large one"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
HTML = "<html><body>Bad Gateway</body></html>"

FAILURES: dict[str, tuple[Behaviour, str]] = {
    "500": (error(500), "upstream_error"),
    "502 html": (respond(502, HTML, {"content-type": "text/html"}), "upstream_error"),
    "504": (error(504), "timeout"),
    "503": (error(503), "overloaded"),
    "429": (error(429, headers={"retry-after": "7"}), "overloaded"),
    "our key refused": (error(401, "Incorrect API key provided: sk-up*"), "misconfigured"),
    "our key forbidden": (error(403), "misconfigured"),
    "unknown model": (error(404, "The model does not exist"), "misconfigured"),
    "empty account": (error(402, "Insufficient Balance"), "misconfigured"),
    "refused": (error(400, "Something in your request"), "rejected"),
    "too long": (too_long(), "context"),
    "redirect": (respond(302, b"", {"location": "http://127.0.0.1:1/"}), "upstream_error"),
    "connection closed": (raw(CUT), "upstream_error"),
    "connection reset": (raw(RESET), "upstream_error"),
    "not http": (raw(b"SSH-2.0-OpenSSH_9.2\r\n", CUT), "upstream_error"),
    "cut in the headers": (raw(b"HTTP/1.1 200 OK\r\ncontent-le", CUT), "upstream_error"),
}
SILENT: dict[str, tuple[Behaviour, str]] = {
    "silent": (raw(HANG), "timeout"),
}
ONLY_WHOLE: dict[str, tuple[Behaviour, str]] = {
    "empty body": (respond(200), "upstream_error"),
    "html with 200": (respond(200, HTML), "upstream_error"),
    "json but no answer": (respond(200, {"ok": True}), "upstream_error"),
    "error with 200": (respond(200, {"error": {"message": "no"}}), "upstream_error"),
    "no choices": (respond(200, {"choices": []}), "upstream_error"),
    "no finish_reason": (answer(finish=None), "upstream_error"),
    "cut body": (raw(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"id": "x", ', CUT), "upstream_error"),
}
SILENT_WHOLE = SILENT | {
    "stalled body": (raw(b'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"id": "x", ', HANG), "timeout"),
}
ONLY_STREAMS: dict[str, tuple[Behaviour, str]] = {
    "cut after the headers": (stream(CUT), "upstream_error"),
    "cut after the role": (stream(first(), CUT), "upstream_error"),
    "reset after the role": (stream(first(), Pause(0.02), RESET), "upstream_error"),
    "ends without an event": (stream(), "upstream_error"),
    "ends after the role": (stream(first(), DONE), "upstream_error"),
    "only done": (stream(DONE), "upstream_error"),
    "error event first": (stream({"error": {"message": "grammar failed", "code": 500}}, DONE), "upstream_error"),
    "too long as an event": (
        stream({"error": {"message": "This model's maximum context length is 9 tokens.", "code": 400}}, DONE),
        "context",
    ),
    "not json": (stream(b"data: {oops\n\n", DONE), "upstream_error"),
    "html with 200": (respond(200, HTML, {"content-type": "text/html"}), "upstream_error"),
    "json with 200": (respond(200, {"choices": []}), "upstream_error"),
}
SILENT_STREAMS = SILENT | {
    "stalled after the headers": (stream(HANG), "timeout"),
    "stalled after the role": (stream(first(), HANG), "timeout"),
    "comments are no content": (stream(Forever(b": ping\n\n", Pause(0.05))), "timeout"),
}


@pytest.mark.parametrize("failure", FAILURES | ONLY_WHOLE | SILENT_WHOLE)
def test_a_whole_answer_comes_from_the_rung_above(lane: Lane, failure: str) -> None:
    behaviour, reason = (FAILURES | ONLY_WHOLE | SILENT_WHOLE)[failure]
    small, route = ("brief", "auto-brief") if failure in SILENT_WHOLE else ("slm", "auto")
    lane.site(small).always(behaviour)
    lane.llm.then(answer(SAID))
    reply = lane.chat(route)
    lane.assert_escalated(reply, reason)
    assert reply.text == SAID
    assert lane.site(small).asked == 1, "with a rung above, one replica is not asked twice"
    labels = {"from_model": lane.name(small), "to_model": lane.name("llm"), "reason": reason}
    lane.expect(1, "escalations_total", route=route, **labels)
    lane.expect(1, "requests_total", route=route, model=lane.name("llm"), outcome="ok")


@pytest.mark.parametrize("failure", FAILURES | ONLY_STREAMS | SILENT_STREAMS)
def test_a_stream_comes_from_the_rung_above_as_if_nothing_had_been(lane: Lane, failure: str) -> None:
    behaviour, reason = (FAILURES | ONLY_STREAMS | SILENT_STREAMS)[failure]
    small, route = ("brief", "auto-brief") if failure in SILENT_STREAMS else ("slm", "auto")
    lane.site(small).always(behaviour)
    lane.llm.then(answer(pieces=["from the ", "large one"]))
    streamed = lane.stream(route)
    lane.assert_escalated(streamed, reason)
    assert streamed.transcript.text == SAID
    assert streamed.transcript.done
    assert streamed.transcript.error is None
    assert len([e for e in streamed.transcript.events if e["choices"][0]["delta"].get("role")]) == 1
    lane.expect(1, "escalations_total", route=route, from_model=lane.name(small), reason=reason)


@pytest.mark.parametrize(
    ("limit", "behaviour", "streamed"),
    [("total_s", raw(HANG), False), ("first_byte_s", raw(HANG), True), ("idle_s", stream(first(), HANG), True)],
)
def test_a_timeout_takes_as_long_as_configured(lane: Lane, limit: str, behaviour: Behaviour, streamed: bool) -> None:
    site, route = lane.site(f"brief-{limit}"), f"auto-brief-{limit}"
    site.always(behaviour)
    began = time.monotonic()
    reply = lane.stream(route) if streamed else lane.chat(route)
    lane.assert_escalated(reply, "timeout")
    assert BRIEF[limit] <= time.monotonic() - began, "and all its other limits are longer than the client waits"
    site.last.wait_closed()


def test_every_failed_attempt_that_used_tokens_is_paid_for(lane: Lane) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    lane.slm.always(answer('{"a": "no number"}'))
    lane.llm.then(answer(json.dumps({"a": 1})))
    reply = lane.chat(response_format=form)
    lane.assert_escalated(reply, "structured", attempts=3)
    slm, llm = 10 * 50 + 2 * 100, 10 * 400 + 2 * 1600
    assert int(reply.dollars("cost-usd") * 10**9) == 2 * slm + llm
    assert int(reply.dollars("saved-usd") * 10**9) == -2 * slm


def test_an_answer_names_its_model_and_every_attempt_that_failed(lane: Lane) -> None:
    assert "x-smallfirst-failed" not in lane.chat().headers
    lane.slm.then(answer("no JSON"), error(500))
    lane.llm.then(answer("{}"))
    reply = lane.chat(response_format={"type": "json_object"})
    lane.assert_escalated(reply, "upstream_error", attempts=3)
    slm = lane.name("slm")
    assert reply.said("failed") == f"{slm}=structured, {slm}=upstream_error"
    assert reply.json["model"] == UPSTREAM_MODEL
    assert int(reply.dollars("cost-usd") * 10**9) == 10 * 50 + 2 * 100 + 10 * 400 + 2 * 1600
    lane.slm.always(error(500))
    lane.llm.always(error(500))
    reply = lane.chat()
    assert reply.status == 502
    assert reply.said("failed").endswith(f"{lane.name('llm')}=upstream_error")


def test_a_failure_before_any_token_costs_nothing_and_keeps_the_price_known(lane: Lane) -> None:
    lane.slm.always(error(500))
    reply = lane.chat()
    assert int(reply.dollars("cost-usd") * 10**9) == 10 * 400 + 2 * 1600
    assert reply.dollars("saved-usd") == 0


def test_a_sound_replica_after_failures_answers_again(lane: Lane) -> None:
    back = stream(first(), delta("back"), finished(), DONE)
    lane.slm.then(error(500), back, back)
    assert lane.chat().said("model") == lane.name("llm")
    assert lane.stream().said("model") == lane.name("slm")
    assert lane.stream().transcript.text == "back"


def test_one_that_fails_three_times_in_a_row_rests(lane: Lane) -> None:
    lane.slm.always(error(500))
    for _ in range(3):
        assert lane.chat().said("reason") == "upstream_error"
    reply = lane.chat()
    assert reply.said("model") == lane.name("llm")
    assert reply.said("reason") == "unavailable"
    assert reply.said("attempts") == "1"
    assert len(lane.slm.calls) == 3


@pytest.mark.parametrize("behaviour", [error(429), error(400, "no", code=400), too_long()], ids=["429", "400", "long"])
def test_what_says_nothing_of_its_health_does_not_rest_a_replica(lane: Lane, behaviour: Behaviour) -> None:
    lane.slm.always(behaviour)
    for _ in range(5):
        lane.chat()
    lane.slm.always(answer())
    assert lane.chat().said("model") == lane.name("slm")
    assert len(lane.slm.calls) == 6


def test_what_was_dropped_is_said_of_the_model_that_answered(lane: Lane) -> None:
    assert "x-smallfirst-adapted" not in lane.chat(top_k=5).headers
    lane.slm.then(error(500))
    reply = lane.chat(top_k=5)
    assert (reply.said("model"), reply.said("adapted")) == (lane.name("llm"), "top_k=dropped")


@pytest.mark.parametrize("streamed", [False, True])
def test_an_idle_connection_that_the_upstream_has_closed_hurts_nobody(lane: Lane, streamed: bool) -> None:
    async def answer_and_close(call: Call) -> None:
        await answer()(call)
        await call.connection.close()

    lane.slm.always(answer_and_close)
    for _ in range(4):
        reply = lane.stream() if streamed else lane.chat()
        assert (reply.said("model"), reply.said("attempts")) == (lane.name("slm"), "1")
        lane.slm.last.wait_closed()
