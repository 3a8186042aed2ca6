"""Retries that do not make it worse: pauses that upstreams ask for, a budget, slow streams, and a second replica."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from router.attempt.retry import RETRY_FLOOR
from router.replicas.begin_times import MIN_SAMPLES
from tests.support.behaviours import HANG, Behaviour, Call, answer, error, raw, stream
from tests.support.caller import Caller
from tests.support.lanes import BRIEF, LONG, Lane, Plan
from tests.support.stream_events import delta, first
from tests.support.upstream import Site

PROBED = LONG | {"min_tokens_per_s": 20, "probe_s": 0.2}
"""four tokens in a fifth of a second"""


def describe(plan: Plan) -> None:
    plan.slm()
    plan.llm()
    plan.route("auto", "slm", "llm")
    plan.slm("pair", replicas=2)
    plan.slm("brief", timeouts=BRIEF)
    plan.route("auto-brief", "brief", "llm")
    plan.slm("probed", replicas=2, timeouts=PROBED)
    plan.slm("probed-alone", timeouts=PROBED)
    plan.route("auto-probed", "probed-alone", "llm")


def full(retry_after: str) -> Behaviour:
    return error(429, "slow down", code="rate_limit_exceeded", headers={"retry-after": retry_after})


# --- failure 14: a 429


def test_a_short_retry_after_is_waited_for(lane: Lane) -> None:
    lane.slm.then(error(429, headers={"retry-after-ms": "100"}), answer())
    assert lane.chat("slm").text == "Paris."
    early, late = lane.slm.calls
    assert late.arrived - early.arrived >= 0.1
    lane.expect_of(1, "retries_total", model=lane.name("slm"), reason="overloaded")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_long_one_is_forwarded_with_the_upstreams_status_and_words(lane: Lane, streamed: bool) -> None:
    lane.slm.always(full("30"))
    reply = lane.chat("slm", stream=streamed)
    assert reply.status == 429
    assert (reply.error["code"], reply.error["message"]) == ("rate_limit_exceeded", "slow down")
    assert reply.headers["retry-after"] == "30"
    assert len(lane.slm.calls) == 1


def test_new_requests_avoid_a_replica_until_its_pause_is_over(lane: Lane) -> None:
    a, b = lane.site("pair", "a"), lane.site("pair", "b")
    refused: list[str] = []

    async def refuse_first(call: Call) -> None:
        """Whichever replica is asked first wants a pause."""
        if not refused:
            refused.append(call.site)
        await (full("30") if call.site in refused else answer())(call)

    for site in (a, b):
        site.always(refuse_first)
    for _ in range(6):
        assert lane.chat("pair").status == 200
    assert sorted((len(a.calls), len(b.calls))) == [1, 6]


def test_a_429_is_never_told_as_a_model_that_is_not_there(lane: Lane) -> None:
    lane.slm.always(full("30"))
    lane.llm.always(full("20"))
    for _ in range(3):
        reply = lane.chat()
        assert reply.status == 429
        assert (reply.error["code"], reply.error["message"]) == ("rate_limit_exceeded", "slow down")
        assert reply.headers["retry-after"] == "20"
    assert (len(lane.slm.calls), len(lane.llm.calls)) == (1, 3), "the last rung is asked whatever it said"


def test_a_model_that_wanted_a_pause_is_asked_where_the_others_are_broken(lane: Lane) -> None:
    lane.slm.then(full("30"))
    assert lane.chat().said("model") == lane.name("llm")
    lane.llm.always(error(500))
    reply = lane.chat()
    assert reply.text == "Paris."
    assert reply.said("model") == lane.name("slm")


def test_where_every_request_fails_at_most_the_budget_is_retried(lane: Lane) -> None:
    for replica in ("a", "b"):
        lane.site("pair", replica).always(error(503))
    asked = 80
    with ThreadPoolExecutor(4) as pool:
        replies = [future.result() for future in [pool.submit(lane.chat, "pair") for _ in range(asked)]]
    assert {reply.status for reply in replies} == {503}, "told as it was, with or without a retry"
    calls = sum(len(lane.site("pair", replica).calls) for replica in ("a", "b"))
    retries = calls - asked
    lane.expect_of(retries, "retries_total", model=lane.name("pair"), reason="overloaded")
    lane.expect_of(asked - retries, "retries_refused_total", model=lane.name("pair"), reason="overloaded")
    assert retries <= 2 * RETRY_FLOOR + asked // 10, "two windows at most, if the machine is slow"


# --- failure 3: a first byte that comes late


@pytest.mark.parametrize("late", [raw(HANG), stream(HANG)], ids=["headers", "first event"])
def test_a_late_first_byte_costs_its_limit_once_then_the_next_target(lane: Lane, late: Behaviour) -> None:
    lane.site("brief").always(late)
    reply = lane.stream("auto-brief")
    assert reply.transcript.text == "Paris."
    lane.assert_escalated(reply, "timeout")
    [call] = lane.site("brief").calls
    assert call.wait_closed()


# --- failure 4: a stream that drips


@pytest.mark.parametrize("drip", [(), (delta("a"), delta("b"))], ids=["one token", "three tokens"])
def test_a_drip_is_left_for_another_replica_and_nothing_of_it_is_seen(lane: Lane, drip: tuple[object, ...]) -> None:
    dripped: list[str] = []

    async def drip_first(call: Call) -> None:
        """Whichever replica is asked first drips."""
        if not dripped:
            dripped.append(call.site)
            await stream(first(), delta("drop"), *drip, HANG)(call)
        else:
            await answer("a fast answer")(call)

    for replica in ("a", "b"):
        lane.site("probed", replica).always(drip_first)
    reply = lane.stream("probed")
    assert reply.transcript.text == "a fast answer"
    assert reply.transcript.done
    assert reply.said("attempts") == "2"
    lane.expect_of(1, "retries_total", model=lane.name("probed"), reason="timeout")


def test_a_drip_of_the_only_replica_is_left_for_the_next_rung(lane: Lane) -> None:
    lane.site("probed-alone").always(stream(first(), delta("drop"), HANG))
    reply = lane.stream("auto-probed")
    assert reply.transcript.text == "Paris."
    lane.assert_escalated(reply, "timeout")


def test_a_short_answer_is_no_drip(lane: Lane) -> None:
    assert lane.stream("probed").transcript.text == "Paris."
    assert lane.chat("probed").text == "Paris."


# --- hedging


def known(lane: Lane) -> tuple[Site, Site]:
    """Ask for as many streams as it takes to know when they begin."""
    sites = lane.site("pair", "a"), lane.site("pair", "b")
    for _ in range(MIN_SAMPLES):
        assert lane.stream("pair").transcript.done
    assert sum(len(site.calls) for site in sites) == MIN_SAMPLES, "until then nobody is asked twice"
    return sites


def test_a_client_that_leaves_while_two_replicas_are_asked_ends_both(lane: Lane) -> None:
    sites = known(lane)
    before = [len(site.calls) for site in sites]
    for site in sites:
        site.always(stream(HANG))
    with Caller(lane.gateway, lane.body("pair", stream=True)):
        last = [site.wait_for_calls(count + 1)[-1] for site, count in zip(sites, before, strict=True)]
    for call in last:
        assert call.wait_closed()
    lane.expect_of(1, "hedges_total", model=lane.name("pair"), result="lost")
    lane.gateway.assert_idle()


def test_a_stream_that_begins_late_is_asked_of_a_second_replica_and_the_first_is_cancelled(lane: Lane) -> None:
    sites = known(lane)
    held: list[Call] = []

    async def hold_first(call: Call) -> None:
        """Whichever replica is asked first sends its headers only."""
        if not held:
            held.append(call)
            await stream(HANG)(call)
        else:
            await answer("the other one")(call)

    for site in sites:
        site.always(hold_first)
    reply = lane.stream("pair")
    assert reply.transcript.text == "the other one"
    assert reply.said("attempts") == "2"
    assert held[0].wait_closed()
    lane.expect_of(1, "hedges_total", model=lane.name("pair"), result="won")
    assert lane.counter("retries_total", model=lane.name("pair")) == 0
    lane.gateway.assert_idle()
