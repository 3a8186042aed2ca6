"""Clients that leave at any moment, or read slowly."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.wall.plans import pair
from tests.chaos.wall.scenario import Scenario, Stage, Verdict
from tests.support.behaviours import HANG, Call, Forever, Pause, raw, stream
from tests.support.caller import Caller
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.waiting import PATIENCE_S, wait_until

STREAMED = ("streamed",)
EVENT_BYTES, EVENTS = 64 * 1024, 600
HELD_BACK_BYTES = 34 * 2**20
"""more than the buffers of two connections and of the gateway hold, and less than is sent"""
CROWD = 100
DRIP = Forever(delta("x"), Pause(0.01))
FORM = {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}}


def _leaves(stage: Stage, route: str, site: str, until: bytes | None = None, **fields: object) -> Verdict:
    """Leave, and see the upstream's call closed."""
    with Caller(stage.lane.gateway, stage.lane.body(route, stream=stage.streamed, **fields)) as caller:
        [call] = stage.site(site).wait_for_calls(1)
        if until is not None:
            caller.read_until(until)
        caller.leave()
        call.wait_closed()
    assert not stage.site("llm").calls, "nobody is there for whom to escalate"
    return Verdict.PASS


def _before_the_headers(stage: Stage) -> Verdict:
    stage.site("slm").always(raw(HANG))
    return _leaves(stage, "auto", "slm")


def _in_the_body(stage: Stage) -> Verdict:
    body = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{", HANG)
    stage.site("slm").always(stream(first(), HANG) if stage.streamed else body)
    return _leaves(stage, "auto", "slm")


def _in_the_stream(stage: Stage) -> Verdict:
    stage.site("slm").always(stream(first(), delta("hello"), DRIP))
    return _leaves(stage, "auto", "slm", b'"hello"')


def _while_it_is_held_back(stage: Stage) -> Verdict:
    stage.site("slm").always(stream(first(), delta("{"), Forever(delta('"a": 1, '), Pause(0.01))))
    return _leaves(stage, "auto", "slm", **FORM)


def _all_at_once(stage: Stage) -> Verdict:
    slm = stage.site("slm")
    slm.always(stream(first(), delta("hello"), HANG) if stage.streamed else raw(HANG))
    callers = [Caller(stage.lane.gateway, stage.lane.body(stream=stage.streamed)) for _ in range(30)]
    for call in slm.wait_for_calls(len(callers)):
        assert not call.ended
    for caller in callers:
        caller.leave()
    for call in slm.calls:
        call.wait_closed()
    return Verdict.PASS


def _between_attempts(stage: Stage) -> Verdict:
    """It leaves while the first of two replicas is silent: the second is not asked."""
    sites = [stage.site("pair:a"), stage.site("pair:b")]
    for site in sites:
        site.always(raw(HANG))

    def calls() -> list[Call]:
        return [call for site in sites for call in site.calls]

    with Caller(stage.lane.gateway, stage.lane.body("pair", stream=stage.streamed)) as caller:
        wait_until(calls)
        caller.leave()
        calls()[0].wait_closed()
    stage.settle()
    assert len(calls()) == 1
    return Verdict.PASS


def _half_closes(stage: Stage) -> Verdict:
    with Caller(stage.lane.gateway, stage.lane.body(stream=stage.streamed)) as caller:
        caller.socket.shutdown(socket.SHUT_WR)
        caller.read_to_end()
    return Verdict.PASS


def _reads_slowly(stage: Stage) -> Verdict:
    """The upstream is held back, others are served meanwhile, and nothing is lost."""
    slm = stage.site("slm")
    slm.then(stream(first(), *[delta("x" * EVENT_BYTES)] * EVENTS, finished(), DONE))
    with Caller(stage.lane.gateway, stage.lane.body(stream=True), receive_buffer=64 * 1024) as caller:
        [call] = slm.wait_for_calls(1)
        _wait_until_held_back(call)
        assert call.bytes_sent < HELD_BACK_BYTES < EVENTS * EVENT_BYTES
        assert stage.lane.chat().status == 200
        assert caller.read_to_end() > EVENTS * EVENT_BYTES
        assert b"data: [DONE]" in caller.received
    return Verdict.PASS


def _reads_slowly_and_leaves(stage: Stage) -> Verdict:
    slm = stage.site("slm")
    slm.always(stream(first(), Forever(delta("x" * EVENT_BYTES))))
    with Caller(stage.lane.gateway, stage.lane.body(stream=True), receive_buffer=64 * 1024) as caller:
        [call] = slm.wait_for_calls(1)
        _wait_until_held_back(call)
        caller.leave()
        call.wait_closed()
    return Verdict.PASS


def _wait_until_held_back(call: Call, quiet_s: float = 0.3) -> None:
    """Wait until the upstream has not been able to send for a while."""
    end = time.monotonic() + PATIENCE_S
    sent, since = -1, time.monotonic()
    while time.monotonic() - since < quiet_s:
        assert time.monotonic() < end, "the upstream never stood still"
        if call.bytes_sent != sent:
            sent, since = call.bytes_sent, time.monotonic()
        time.sleep(0.02)


def _a_crowd(stage: Stage) -> Verdict:
    """More clients than there are slots: each is answered."""

    def ask(_number: int) -> bytes:
        with Caller(stage.lane.gateway, stage.lane.body(stream=stage.streamed)) as caller:
            return caller.read_until(b"data: [DONE]" if stage.streamed else b"Paris.")

    with ThreadPoolExecutor(CROWD) as pool:
        assert all(b"HTTP/1.1 200" in answer for answer in pool.map(ask, range(2 * CROWD)))
    return Verdict.PASS


SCENARIOS: list[Scenario] = [
    Scenario("leaves before the headers", _before_the_headers),
    Scenario("leaves before the first word", _in_the_body),
    Scenario("leaves in the stream", _in_the_stream, modes=STREAMED),
    Scenario("leaves while the stream is held back", _while_it_is_held_back, modes=STREAMED),
    Scenario("thirty leave at once", _all_at_once),
    Scenario("leaves between two attempts", _between_attempts, pair),
    Scenario("closes its half of the connection", _half_closes),
    Scenario("reads slowly", _reads_slowly, modes=STREAMED),
    Scenario("reads slowly and leaves", _reads_slowly_and_leaves, modes=STREAMED),
    Scenario(f"{CROWD} at once, for 64 slots", _a_crowd),
]
