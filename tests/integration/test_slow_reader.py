"""A client that does not read holds the upstream back; memory does not grow."""

from __future__ import annotations

import time

from tests.support.behaviours import stream
from tests.support.caller import Caller
from tests.support.gateway import Gateway
from tests.support.lanes import LONG, Lane, Plan
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.upstream import Site
from tests.support.waiting import PATIENCE_S

EVENT_BYTES = 64 * 1024
EVENTS = 1280
HELD_BACK_BYTES = 48 * 2**20
"""what may be on its way: socket buffers of both connections (Linux lets a receive buffer grow to 32 MB) and ours"""
IDLE_S = 3.0
GROWTH_BYTES = 32 * 2**20


def describe(plan: Plan) -> None:
    plan.slm(timeouts=LONG | {"idle_s": IDLE_S})
    plan.llm()
    plan.route("auto", "slm", "llm")


def resident_bytes(gateway: Gateway) -> int:
    with open(f"/proc/{gateway.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def wait_until_held_back(site: Site, quiet_s: float = 0.3) -> int:
    """Wait until the upstream has not been able to send for a while; return how much it has sent."""
    end = time.monotonic() + PATIENCE_S
    sent, since = -1, time.monotonic()
    while time.monotonic() - since < quiet_s:
        assert time.monotonic() < end, "the upstream never stood still"
        if site.last.bytes_sent != sent:
            sent, since = site.last.bytes_sent, time.monotonic()
        time.sleep(0.02)
    return sent


def test_memory_does_not_grow_and_nothing_is_lost(lane: Lane) -> None:
    text = "x" * EVENT_BYTES
    lane.slm.then(stream(first(), *(delta(text) for _ in range(EVENTS)), finished(), DONE))
    before = resident_bytes(lane.gateway)
    with Caller(lane.gateway, lane.body(stream=True), receive_buffer=64 * 1024) as caller:
        lane.slm.wait_for_calls(1)
        sent = wait_until_held_back(lane.slm, quiet_s=IDLE_S + 1)
        assert sent < HELD_BACK_BYTES < EVENTS * EVENT_BYTES
        assert resident_bytes(lane.gateway) - before < GROWTH_BYTES
        assert lane.metrics().value("smallfirst_replica_in_flight", model=lane.name("slm")) == 1
        # idle_s has passed meanwhile: it is the upstream's limit, and a slow client is no slow upstream
        count = caller.read_to_end()
        assert count > EVENTS * EVENT_BYTES
        assert b"data: [DONE]" in caller.received
        assert b'"error"' not in caller.received


def test_a_slow_reader_that_leaves_frees_the_upstream(lane: Lane) -> None:
    text = "x" * EVENT_BYTES
    lane.slm.then(stream(first(), *(delta(text) for _ in range(EVENTS)), finished(), DONE))
    with Caller(lane.gateway, lane.body(stream=True), receive_buffer=64 * 1024) as caller:
        lane.slm.wait_for_calls(1)
        wait_until_held_back(lane.slm)
        caller.leave()
        lane.slm.last.wait_closed()
    lane.gateway.assert_idle()


def test_a_slow_reader_slows_nobody_else(lane: Lane) -> None:
    text = "x" * EVENT_BYTES
    lane.slm.then(stream(first(), *(delta(text) for _ in range(EVENTS)), finished(), DONE))
    with Caller(lane.gateway, lane.body(stream=True), receive_buffer=64 * 1024):
        lane.slm.wait_for_calls(1)
        wait_until_held_back(lane.slm)
        assert lane.chat().status == 200
        assert not lane.slm.calls[0].over
