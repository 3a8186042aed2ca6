"""A pool of replicas: the second takes what the first one drops; the fallback is not troubled."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.support.behaviours import CUT, HANG, Behaviour, Call, Gate, answer, error, raw, respond, stream
from tests.support.caller import Caller
from tests.support.lanes import BRIEF, Lane, Plan
from tests.support.stream_events import delta, first


def describe(plan: Plan) -> None:
    plan.slm("pair", replicas=2)
    plan.slm("by-load", replicas=2, balance="least_loaded")
    plan.slm("brief", replicas=2, timeouts=BRIEF)
    plan.llm()
    plan.route("auto", "pair", "llm")
    plan.route("auto-brief", "brief", "llm")
    plan.slm("half", base_url=[plan.upstream.refusing_url, plan.upstream.url(plan.name("half"))])


RETRIED: dict[str, Behaviour] = {
    "500": error(500),
    "503": error(503),
    "429": error(429),
    "cut": raw(CUT),
    "silent": raw(HANG),
    "garbage": respond(200, "<html>"),
}


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("failure", RETRIED)
def test_the_other_replica_is_tried_before_the_rung_above(lane: Lane, failure: str, streamed: bool) -> None:
    pair, route = ("brief", "auto-brief") if failure == "silent" else ("pair", "auto")
    a, b = lane.site(pair, "a"), lane.site(pair, "b")
    failing: list[str] = []

    async def fail_first(call: Call) -> None:
        """Whichever replica is asked first fails."""
        if not failing:
            failing.append(call.site)
        if call.site in failing:
            await RETRIED[failure](call)
        else:
            await answer("the other one")(call)

    a.always(fail_first)
    b.always(fail_first)
    reply = lane.stream(route) if streamed else lane.chat(route)
    assert reply.status == 200
    assert reply.said("model") == lane.name(pair)
    assert reply.said("attempts") == "2"
    assert (a.asked, b.asked) == (1, 1)
    assert lane.llm.calls == []
    lane.expect_of(1, "retries_total", model=lane.name(pair))


def test_both_replicas_failing_leads_to_the_rung_above(lane: Lane) -> None:
    for replica in ("a", "b"):
        lane.site("pair", replica).always(error(500))
    reply = lane.chat()
    assert reply.said("model") == lane.name("llm")
    assert reply.said("attempts") == "3"
    assert reply.said("reason") == "upstream_error"


def test_a_replica_that_refuses_connections_costs_nobody_an_answer(lane: Lane) -> None:
    for _ in range(6):
        reply = lane.chat("half")
        assert reply.status == 200
        assert reply.text == "Paris."


def test_idle_replicas_share_the_work(lane: Lane) -> None:
    for _ in range(10):
        assert lane.chat("by-load").status == 200
    assert {len(lane.site("by-load", replica).calls) for replica in ("a", "b")} == {5}


def test_plain_prompts_share_the_work_too(lane: Lane) -> None:
    for _ in range(10):
        assert lane.complete("pair").status == 200
    assert {len(lane.site("pair", replica).calls) for replica in ("a", "b")} == {5}


def test_all_turns_of_a_conversation_go_to_one_replica_and_conversations_to_both(lane: Lane) -> None:
    sites = [lane.site("pair", replica) for replica in ("a", "b")]
    for number in range(20):
        before = [len(site.calls) for site in sites]
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": f"Question {number}"}]
        for _ in range(3):
            assert lane.chat("pair", messages=messages).status == 200
            messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]
        new = sorted(len(site.calls) - count for site, count in zip(sites, before, strict=True))
        assert new == [0, 3]
    assert all(site.calls for site in sites)


@pytest.mark.parametrize(("headers", "fields"), [({"x-session-id": "s-1"}, {}), ({}, {"prompt_cache_key": "k-1"})])
def test_requests_that_the_client_names_alike_go_to_one_replica(
    lane: Lane, headers: dict[str, str], fields: dict[str, str]
) -> None:
    for number in range(12):
        messages = [{"role": "user", "content": f"Question {number}"}]
        assert lane.chat("pair", messages=messages, headers=headers, **fields).status == 200
    assert sorted(len(lane.site("pair", replica).calls) for replica in ("a", "b")) == [0, 12]


@pytest.mark.parametrize(("kind", "held", "spread"), [("by-load", 1, [1, 4]), ("pair", 2, [2, 4])])
def test_a_busy_replica_is_passed_over(lane: Lane, kind: str, held: int, spread: list[int]) -> None:
    gate = Gate()
    a, b = lane.site(kind, "a"), lane.site(kind, "b")
    for site in (a, b):
        site.always(stream(first(), delta("x"), gate))
    with ExitStack() as stack:
        for _ in range(held):
            caller = stack.enter_context(Caller(lane.gateway, lane.body(kind, stream=True)))
            caller.read_until(b'"x"')
        assert sorted(len(site.calls) for site in (a, b)) == [0, held]
        for site in (a, b):
            site.always(answer())
        for _ in range(4):
            assert lane.chat(kind).status == 200
        assert sorted(len(site.calls) for site in (a, b)) == spread
        in_flight = lane.metrics().value("smallfirst_replica_in_flight", model=lane.name(kind))
        assert in_flight == held
        gate.set()


def test_the_gauges_name_what_is_configured(lane: Lane) -> None:
    metrics = lane.metrics()
    assert metrics.value("smallfirst_replicas", model=lane.name("pair")) == 2
    assert metrics.value("smallfirst_replicas_up", model=lane.name("pair")) == 2
