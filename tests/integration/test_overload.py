"""More requests than slots: some wait, the rest are told when to come back; nobody hangs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.behaviours import Gate, answer, stream
from tests.support.caller import Caller
from tests.support.lanes import Lane, usual
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.waiting import NEVER_S, wait_until

describe = usual
SLOTS, PLACES = 2, 2
ENV = {
    "SMALLFIRST_MAX_IN_FLIGHT": str(SLOTS),
    "SMALLFIRST_MAX_QUEUED": str(PLACES),
    "SMALLFIRST_QUEUE_TIMEOUT_S": str(NEVER_S),
}


@pytest.fixture
def full(lane: Lane) -> Iterator[Gate]:
    """All slots are taken until the gate opens."""
    gate = Gate()
    lane.slm.then(*(stream(first(), delta("held"), gate, finished(), DONE) for _ in range(SLOTS)))
    with contextlib.ExitStack() as stack:
        for _ in range(SLOTS):
            stack.enter_context(Caller(lane.gateway, lane.body(stream=True))).read_until(b'"held"')
        yield gate
        gate.set()


def wait_for_queue(lane: Lane, length: int) -> None:
    wait_until(lambda: lane.metrics().value("smallfirst_requests_queued") == length, f"{length} wait in the queue")


def test_who_waits_gets_the_slot_that_comes_free(lane: Lane, full: Gate) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(lane.chat) for _ in range(PLACES)]
        wait_for_queue(lane, PLACES)
        assert len(lane.slm.calls) == SLOTS, "who waits has not reached the upstream"
        full.set()
        assert [future.result().status for future in waiting] == [200] * PLACES


def test_one_more_than_slots_and_places_is_refused_at_once(lane: Lane, full: Gate) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(lane.chat) for _ in range(PLACES)]
        wait_for_queue(lane, PLACES)
        reply = lane.chat()
        assert not any(future.done() for future in waiting), "they wait on"
        assert reply.status in (429, 503)
        assert reply.error["code"] == "overloaded"
        assert int(reply.headers["retry-after"]) >= 1
        full.set()
        assert {future.result().status for future in waiting} == {200}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_deadline_holds_in_the_queue_too(lane: Lane, full: Gate, streamed: bool) -> None:
    routing = {"deadline_ms": 150}
    reply = lane.stream(routing=routing) if streamed else lane.chat(routing=routing)
    assert reply.status in (503, 504)
    assert lane.metrics().value("smallfirst_requests_queued") == 0


def test_who_leaves_the_queue_leaves_no_gap(lane: Lane, full: Gate) -> None:
    with Caller(lane.gateway, lane.body()) as caller:
        wait_for_queue(lane, 1)
        caller.leave()
        wait_for_queue(lane, 0)
    full.set()
    assert lane.chat().status == 200
    assert len(lane.slm.calls) == SLOTS + 1, "the one who left was not asked for"


def test_a_burst_ends_with_everything_free(lane: Lane) -> None:
    async def slow(call):
        import asyncio

        await asyncio.sleep(0.03)
        await answer()(call)

    lane.slm.always(slow)
    with ThreadPoolExecutor(max_workers=24) as pool:
        statuses = [future.result().status for future in [pool.submit(lane.chat) for _ in range(72)]]
    assert set(statuses) <= {200, 429, 503}
    assert statuses.count(200) >= SLOTS + PLACES
    assert statuses.count(200) == len(lane.slm.calls)


def test_health_and_metrics_answer_when_all_is_full(lane: Lane, full: Gate) -> None:
    for path in ("/health", "/ready", "/metrics", "/v1/models"):
        assert lane.gateway.http.get(path).status_code == 200


def test_a_bad_request_needs_no_slot_or_is_refused_like_others(lane: Lane, full: Gate) -> None:
    assert lane.chat(temperature="hot").status == 400
