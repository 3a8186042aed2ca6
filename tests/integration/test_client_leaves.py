"""A client that leaves stops the upstream at once, whatever was going on, and leaves nothing behind."""

from __future__ import annotations

import pytest

from tests.support.behaviours import HANG, Behaviour, Call, Forever, Pause, answer, raw, stream
from tests.support.caller import Caller
from tests.support.lanes import Lane, Plan, usual
from tests.support.stream_events import delta, first
from tests.support.waiting import wait_until

SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}


def describe(plan: Plan) -> None:
    usual(plan)
    plan.slm("pair", replicas=2)


DRIP = Forever(delta("x"), Pause(0.01))
SITUATIONS: dict[str, tuple[dict[str, object], Behaviour]] = {
    "whole, before the headers": ({}, raw(HANG)),
    "whole, in the body": ({}, raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", HANG)),
    "stream, before the headers": ({"stream": True}, raw(HANG)),
    "stream, after the headers": ({"stream": True}, stream(HANG)),
    "stream, after the role": ({"stream": True}, stream(first(), HANG)),
    "stream, that is held back": ({"stream": True, "response_format": SCHEMA}, stream(first(), DRIP)),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_leaving_before_the_first_byte(lane: Lane, situation: str) -> None:
    fields, behaviour = SITUATIONS[situation]
    lane.slm.then(behaviour)
    with Caller(lane.gateway, lane.body(**fields)) as caller:
        call = lane.slm.wait_for_calls(1)[0]
        caller.leave()
        assert call.wait_closed()
    lane.gateway.assert_idle()
    lane.expect(1, "requests_total", outcome="disconnected")
    assert lane.llm.calls == [], "nobody is there for whom to escalate"


@pytest.mark.parametrize("then", [HANG, DRIP], ids=["silent", "sending"])
def test_leaving_a_stream_that_runs(lane: Lane, then: object) -> None:
    lane.slm.then(stream(first(), delta("hello"), then))
    with Caller(lane.gateway, lane.body(stream=True)) as caller:
        caller.read_until(b'"hello"')
        caller.leave()
        assert lane.slm.last.wait_closed()
    lane.gateway.assert_idle()
    lane.expect(1, "requests_total", model=lane.name("slm"), outcome="disconnected")


def test_leaving_says_nothing_of_the_replicas_health(lane: Lane) -> None:
    lane.slm.always(raw(HANG))
    for count in range(1, 5):
        with Caller(lane.gateway, lane.body()) as caller:
            call = lane.slm.wait_for_calls(count)[-1]
            caller.leave()
            call.wait_closed()
    lane.slm.always(answer())
    assert lane.chat().said("model") == lane.name("slm")


def test_leaving_between_two_attempts_stops_at_the_second(lane: Lane) -> None:
    def calls() -> list[Call]:
        return lane.site("pair", "a").calls + lane.site("pair", "b").calls

    for replica in ("a", "b"):
        lane.site("pair", replica).always(raw(HANG))
    with Caller(lane.gateway, lane.body("pair")) as caller:
        wait_until(calls)
        caller.leave()
        calls()[0].wait_closed()
    lane.gateway.assert_idle()
    assert len(calls()) == 1


def test_many_leave_at_once(lane: Lane) -> None:
    lane.slm.always(stream(first(), delta("hello"), HANG))
    callers = [Caller(lane.gateway, lane.body(stream=True)) for _ in range(30)]
    for caller in callers:
        caller.read_until(b'"hello"')
    assert lane.metrics().value("smallfirst_replica_in_flight", model=lane.name("slm")) == 30
    for caller in callers:
        caller.leave()
    for call in lane.slm.calls:
        call.wait_closed()
    lane.gateway.assert_idle()
    lane.expect(30, "requests_total", outcome="disconnected")


def test_a_client_that_half_closes_still_gets_its_answer_or_is_let_go(lane: Lane) -> None:
    """Half-closing after the request is odd but legal; the gateway must come to an end with it."""
    import socket

    with Caller(lane.gateway, lane.body()) as caller:
        caller.socket.shutdown(socket.SHUT_WR)
        caller.read_to_end()
    lane.gateway.assert_idle()


def test_a_client_that_leaves_is_no_alarm_about_prices(lane: Lane) -> None:
    """`unpriced` means a missing price or an upstream that reports no usage: an operator is told to look into it."""
    lane.slm.then(stream(first(), delta("hello"), HANG))
    with Caller(lane.gateway, lane.body(stream=True)) as caller:
        caller.read_until(b'"hello"')
        caller.leave()
        lane.slm.last.wait_closed()
    lane.expect(1, "requests_total", outcome="disconnected")
    assert lane.counter("unpriced_requests_total", route=lane.name("auto")) == 0


def test_tokens_spent_before_leaving_are_counted(lane: Lane) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    lane.slm.then(stream(first(), delta("hello") | {"usage": usage}, HANG))
    with Caller(lane.gateway, lane.body(stream=True)) as caller:
        caller.read_until(b'"hello"')
        caller.leave()
        lane.slm.last.wait_closed()
    lane.gateway.assert_idle()
    lane.expect_of(11, "tokens_total", model=lane.name("slm"))
