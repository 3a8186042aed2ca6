"""Several gateway processes on one port: what one of them knows, all know."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from decimal import Decimal

import httpx
import pytest

from tests.support.behaviours import Gate, answer, error, respond, stream, too_long
from tests.support.gateway import Gateway
from tests.support.lanes import QUESTION, Lane, Plan, usual
from tests.support.metrics import Metrics
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.workers import Connection, one_each, workers

ARGS = ("--workers", "2")
HOURLY = {"replica_hour_usd": 3600}  # a dollar a second


def describe(plan: Plan) -> None:
    usual(plan)
    plan.slm("pair", replicas=2, balance="least_loaded")
    plan.slm("by-prefix", replicas=2)
    plan.slm("hourly", price=HOURLY)


@pytest.fixture
def both(gateway: Gateway) -> Iterator[list[Connection]]:
    """A connection to each worker."""
    with one_each(gateway) as connections:
        yield connections


def held(*gates: Gate) -> object:
    """An answer that comes when the gates are open."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "late"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}
    return respond(200, {"id": "x", "choices": [choice], "usage": usage}, before=gates)


def test_the_counts_are_exact_whoever_counted_and_whoever_is_asked(lane: Lane, both: list[Connection]) -> None:
    def ask_on_a_new_connection(_: int) -> int:
        with httpx.Client(base_url=lane.gateway.url, trust_env=False) as client:
            body = {"model": lane.name("auto"), "messages": QUESTION}
            return sum(client.post("/v1/chat/completions", json=body).status_code == 200 for _ in range(4))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(ask_on_a_new_connection, range(75))) == 300
    lane.expect(300, "requests_total", outcome="ok", model=lane.name("slm"))
    for connection in both:
        page = Metrics(connection.get("/metrics"))
        mine = {"model": lane.name("slm")}
        assert page.value("smallfirst_requests_total", **mine) == 300
        assert page.value("smallfirst_request_duration_seconds_count", **mine) == 300
        assert page.value("smallfirst_tokens_total", kind="prompt", **mine) == 3000
        assert page.value("smallfirst_tokens_total", kind="completion", **mine) == 600
        assert Decimal(str(page.value("smallfirst_cost_usd_total", **mine))) == 300 * Decimal("0.0000007")


def test_both_workers_serve(gateway: Gateway, both: list[Connection]) -> None:
    assert {connection.pid for connection in both} == {process.pid for process in workers(gateway)}


@pytest.mark.parametrize("path", ["/health", "/ready", "/v1/models"])
def test_all_workers_say_the_same(both: list[Connection], path: str) -> None:
    one, other = (connection.get(path) for connection in both)
    assert one == other


def test_load_is_balanced_over_the_replicas_whichever_worker_has_the_requests(
    lane: Lane, both: list[Connection]
) -> None:
    gate = Gate()
    a, b = lane.site("pair", "a"), lane.site("pair", "b")
    for site in (a, b):
        site.always(stream(first(), delta("held"), gate, finished(), DONE))
    with ThreadPoolExecutor(12) as pool:
        asked: list[Future[int]] = []
        for count in range(1, 13):
            asked.append(pool.submit(lambda: lane.stream("pair").status))
            wait_until(lambda count=count: len(a.calls) + len(b.calls) == count)  # type: ignore[misc]
            assert abs(len(a.calls) - len(b.calls)) <= 1
        for connection in both:
            page = Metrics(connection.get("/metrics"))
            assert page.value("smallfirst_replica_in_flight", model=lane.name("pair")) == 12
            assert page.value("smallfirst_requests_in_flight") >= 12
        gate.set()
        assert {future.result() for future in asked} == {200}


def test_at_the_same_moment_too(lane: Lane) -> None:
    """No two workers see a replica idle and both take it: they choose under a lock."""
    gate = Gate()
    a, b = lane.site("pair", "a"), lane.site("pair", "b")
    for site in (a, b):
        site.always(stream(first(), delta("held"), gate, finished(), DONE))

    def ask(_: int) -> int:
        with httpx.Client(base_url=lane.gateway.url, trust_env=False, timeout=PATIENCE_S) as client:
            return client.post("/v1/chat/completions", json=lane.body("pair", stream=True)).status_code

    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(ask, number) for number in range(16)]
        wait_until(lambda: len(a.calls) + len(b.calls) == 16)
        assert (len(a.calls), len(b.calls)) == (8, 8)
        gate.set()
        assert {future.result() for future in asked} == {200}


def test_all_workers_send_a_conversation_to_the_same_replica(lane: Lane, both: list[Connection]) -> None:
    sites = [lane.site("by-prefix", replica) for replica in ("a", "b")]
    for number in range(8):
        before = [len(site.calls) for site in sites]
        messages = [{"role": "user", "content": f"Question {number}"}]
        for connection in both:
            assert connection.ask(lane.body("by-prefix", messages=messages))[0] == 200
        assert sorted(len(site.calls) - count for site, count in zip(sites, before, strict=True)) == [0, 2]


def test_all_workers_know_that_a_conversation_was_escalated(lane: Lane, both: list[Connection]) -> None:
    lane.slm.always(too_long())
    messages = [*QUESTION]
    reasons = []
    for connection in (both[0], both[1], both[0]):
        reasons.append(connection.ask(lane.body(messages=messages))[1]["x-smallfirst-reason"])
        messages += [{"role": "assistant", "content": "Paris."}, {"role": "user", "content": "And its river?"}]
    assert reasons == ["context", "conversation", "conversation"]


def test_three_failures_that_any_workers_saw_rest_the_replica_for_all(lane: Lane, both: list[Connection]) -> None:
    lane.slm.always(error(500))
    for connection in (both[0], both[1], both[0]):
        assert connection.ask(lane.body())[1]["x-smallfirst-attempts"] == "2"
    for connection in both:
        _, headers, _ = connection.ask(lane.body())
        assert (headers["x-smallfirst-attempts"], headers["x-smallfirst-reason"]) == ("1", "unavailable")
        assert "cooling down" in connection.get("/ready")
    assert len(lane.slm.calls) == 3

    gate = Gate()
    lane.slm.always(held(gate))
    with ThreadPoolExecutor(8) as pool:
        probe: Future[int] | None = None
        while len(lane.slm.calls) == 3:  # until the rest is over, after which one request tries
            probe = probe or pool.submit(lambda: lane.chat("slm").status)
            if probe.done():
                assert probe.result() == 503
                probe = None
            time.sleep(0.02)
        assert [connection.ask(lane.body())[0] for connection in both * 2] == [200] * 4
        assert len(lane.slm.calls) == 4, "one at a time, for all workers"
        gate.set()
        assert probe is not None
        assert probe.result() == 200
    for connection in both:
        assert connection.ask(lane.body())[1]["x-smallfirst-model"] == lane.name("slm")


def test_requests_at_the_same_time_together_cost_what_the_replica_cost(lane: Lane) -> None:
    gate = Gate()
    site = lane.site("hourly")
    site.always(held(gate))

    def ask(_: int) -> Decimal:
        with httpx.Client(base_url=lane.gateway.url, trust_env=False, timeout=PATIENCE_S) as client:
            response = client.post("/v1/chat/completions", json=lane.body("hourly"))
            return Decimal(response.headers["x-smallfirst-cost-usd"])

    with ThreadPoolExecutor(8) as pool:
        before = time.monotonic()
        asked = [pool.submit(ask, number) for number in range(8)]
        site.wait_for_calls(8)
        arrived = site.calls[0].arrived
        time.sleep(0.3)
        opened = time.monotonic()
        gate.set()
        costs = [future.result() for future in asked]
        after = time.monotonic()
    total = sum(costs)
    assert opened - arrived <= total <= after - before, "a dollar a second, whatever the number of requests"
    lane.expect_of(8, "requests_total", model=lane.name("hourly"))
    assert Decimal(str(round(lane.counter("cost_usd_total", model=lane.name("hourly")), 9))) == total
    page, mine = lane.metrics(), {"model": lane.name("hourly"), "replica": f"{lane.name('hourly')}/0"}
    busy_s = page.value("smallfirst_replica_busy_seconds_total", **mine)
    assert busy_s == pytest.approx(float(total), abs=1e-6), "what it worked is what its requests paid for"
    up_s = page.value("smallfirst_replica_up_seconds_total", **mine)
    assert busy_s < up_s
    assert page.value("smallfirst_replica_paid_usd_total", **mine) == pytest.approx(up_s, abs=1e-8)
    assert page.value("smallfirst_replica_tokens_total", kind="completion", **mine) == 8 * 2


def test_a_sound_answer_is_what_it_is_with_one_process(lane: Lane, both: list[Connection]) -> None:
    lane.slm.always(answer("Paris."))
    for connection in both:
        status, headers, body = connection.ask(lane.body())
        assert (status, headers["x-smallfirst-model"]) == (200, lane.name("slm"))
        assert b"Paris." in body


def test_slots_in_use_are_told_of_all_workers(lane: Lane, both: list[Connection]) -> None:
    gate = Gate()
    lane.slm.always(held(gate))
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(connection.post, lane.body()) for connection in both]
        lane.slm.wait_for_calls(2)
        assert lane.counter("requests_in_flight") == 2
        gate.set()
        for future in asked:
            future.result().read()
    lane.gateway.assert_idle()
