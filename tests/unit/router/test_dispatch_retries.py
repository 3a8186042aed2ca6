"""Pauses that upstreams ask for, the retry budget, and streams that drip: over fakes."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest

from router.attempt.retry import RETRY_FLOOR
from router.config.models import Timeouts
from router.errors import Overloaded, UpstreamFailed, UpstreamRejected, UpstreamTimedOut
from tests.support.cancelling import cancel_after
from tests.support.failing import AS_PERSON, BAD, CUT, FULL, GOOD
from tests.support.fakes import (
    HANG,
    ROLE,
    STREAM,
    answers,
    call,
    chunk,
    large,
    model,
    refuses,
    streams,
    whole,
)
from tests.support.inprocess import Dispatching

# --- a pause that the upstream asks for (failure 14)


async def test_a_short_retry_after_is_waited_for() -> None:
    gateway = Dispatching([model()], {"slm-0": [refuses(429, FULL, 0.05), answers()]})
    began = monotonic()
    assert await gateway.ask() == [whole()]
    assert monotonic() - began >= 0.05
    assert gateway.record.retries == [("slm", "overloaded")]
    assert gateway.tried == [("slm/0", "overloaded"), ("slm/0", "")]


async def test_a_long_one_is_the_clients_with_the_upstreams_own_words() -> None:
    gateway = Dispatching(
        [model()], {"slm-0": [refuses(429, {"error": {"message": "slow down", "code": "tpm"}}, 30.0)]}
    )
    error = await gateway.fails(UpstreamRejected)
    assert (error.status, error.code, error.message, error.retry_after_s) == (429, "tpm", "slow down", 30.0)
    assert gateway.upstream.hosts == ["slm-0"]


async def test_nothing_is_waited_for_where_another_model_answers() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(429, FULL, 1.0)]})
    assert await gateway.ask() == [whole()]
    assert gateway.upstream.hosts == ["slm-0", "llm-0"]


async def test_a_replica_that_asked_for_a_pause_gets_no_new_requests() -> None:
    gateway = Dispatching([model(replicas=2)], {"slm-1": [refuses(429, FULL, 30.0)]})
    for _ in range(5):
        assert await gateway.ask() == [whole()]
    assert gateway.upstream.hosts == ["slm-1", *["slm-0"] * 5]
    assert gateway.pools["slm"].replicas[1].breaker.failures == 0


async def test_a_model_that_asked_for_a_pause_is_passed_over() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(429, FULL, 30.0)]})
    await gateway.ask()
    await gateway.ask()
    assert gateway.upstream.hosts == ["slm-0", "llm-0", "llm-0"]
    assert gateway.steps == [("slm", "llm", "overloaded")]


async def test_where_there_is_no_other_it_is_asked_all_the_same() -> None:
    gateway = Dispatching([model()], {"slm-0": [refuses(429, FULL, 30.0), answers()]})
    await gateway.fails(UpstreamRejected)
    assert await gateway.ask() == [whole()]


async def test_a_429_never_becomes_a_model_that_is_not_available() -> None:
    """The small model wants a pause, the large one may not be asked: the client still learns that it is a 429."""
    gateway = Dispatching([model(), large(abilities=frozenset())], {"slm-0": [refuses(429, FULL, 30.0)]})
    for _ in range(2):
        error = await gateway.fails(UpstreamRejected, logprobs=True)
        assert (error.status, error.retry_after_s) == (429, 30.0)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
async def test_the_retry_after_of_any_refusal_is_forwarded(status: int) -> None:
    gateway = Dispatching([model()], {"slm-0": [refuses(status, FULL, 30.0)]})
    with pytest.raises((UpstreamFailed, Overloaded, UpstreamTimedOut)) as caught:
        await gateway.ask()
    assert caught.value.retry_after_s == 30.0
    assert gateway.upstream.hosts == ["slm-0"], "it is left alone as long as it wants"


async def test_no_pause_outlasts_the_deadline() -> None:
    gateway = Dispatching([model()], {"slm-0": [refuses(429, FULL, 1.5)]})
    error = await gateway.fails(UpstreamRejected, routing={"deadline_ms": 900})
    assert error.status == 429, "told at once, not after the deadline"


async def test_a_client_that_leaves_in_a_pause_leaves_nothing_behind() -> None:
    for steps in range(30):
        gateway = Dispatching([model()], {"slm-0": [refuses(429, FULL, 1.9), answers()]})
        assert not await cancel_after(gateway.ask(), steps)
        gateway.all_is_released()
        assert gateway.upstream.hosts in ([], ["slm-0"])
    assert gateway.record.retries == [("slm", "overloaded")]


# --- the retry budget


async def spend(gateway: Dispatching) -> None:
    while gateway.dispatcher.retries.budgets["slm"].withdraw(monotonic()):
        pass


async def test_where_every_request_fails_at_most_the_budget_is_retried() -> None:
    gateway = Dispatching([model()], {"slm-0": [refuses(500)]})
    asked = 100
    for _ in range(asked):
        await gateway.fails(UpstreamFailed)
    assert len(gateway.upstream.hosts) - asked <= RETRY_FLOOR + asked // 10


async def test_a_refused_retry_goes_to_the_next_rung_and_is_counted() -> None:
    gateway = Dispatching([model(replicas=2), large()], {"slm-1": [CUT]})
    await spend(gateway)
    assert await gateway.ask() == [whole()]
    assert gateway.upstream.hosts == ["slm-1", "llm-0"]
    assert gateway.steps == [("slm", "llm", "upstream_error")]
    assert gateway.record.refused_retries == [("slm", "upstream_error")]
    assert gateway.record.retries == []


async def test_without_one_the_error_is_the_upstreams_own() -> None:
    gateway = Dispatching([model()], {"slm-0": [refuses(429, FULL, 1.0)]})
    await spend(gateway)
    error = await gateway.fails(UpstreamRejected)
    assert (error.status, error.retry_after_s) == (429, 1.0)


async def test_a_format_is_asked_again_without_any_budget() -> None:
    gateway = Dispatching([model()], {"slm-0": [answers(BAD), answers(GOOD)]})
    await spend(gateway)
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.record.retries == [("slm", "structured")]
    assert gateway.record.refused_retries == []


# --- a stream that begins too slowly (failure 4)

FLOOR = Timeouts(min_tokens_per_s=100.0, probe_s=0.05)
"""five tokens in a twentieth of a second"""
DRIP: list[Any] = [[ROLE], [chunk("a")], [chunk("b")], HANG]
FAST: list[Any] = [[ROLE], *([chunk(str(at))] for at in range(9)), [chunk(finish="stop"), b"[DONE]"]]


async def test_a_drip_is_left_for_another_replica_and_its_client_sees_nothing_of_it() -> None:
    gateway = Dispatching([model(replicas=2, timeouts=FLOOR)], {"slm-1": [streams(DRIP)], "slm-0": [streams(FAST)]})
    got = await gateway.ask(stream=True)
    assert got == [ROLE, *(chunk(str(at)) for at in range(9)), chunk(finish="stop")]
    assert gateway.tried == [("slm/1", "timeout"), ("slm/0", "")]
    gateway.all_is_released()


async def test_a_slow_replica_gets_no_requests_for_a_while_but_its_breaker_stays_closed() -> None:
    """Mostly it is slow because it has too much to do."""
    gateway = Dispatching([model(replicas=2, timeouts=FLOOR)], {"slm-1": [streams(DRIP)], "slm-0": [streams(FAST)]})
    await gateway.ask(stream=True)
    await gateway.ask(stream=True)
    assert gateway.upstream.hosts == ["slm-1", "slm-0", "slm-0"]
    assert gateway.pools["slm"].replicas[1].breaker.failures == 0


async def test_without_another_replica_the_next_rung_is_asked() -> None:
    gateway = Dispatching([model(timeouts=FLOOR), large()], {"slm-0": [streams(DRIP)], "llm-0": [streams()]})
    await gateway.ask(stream=True)
    assert gateway.steps == [("slm", "llm", "timeout")]


async def test_without_any_other_place_the_client_is_told() -> None:
    gateway = Dispatching([model(timeouts=FLOOR)], {"slm-0": [streams(DRIP)]})
    error = await gateway.fails(UpstreamTimedOut, stream=True)
    assert (error.status, error.code) == (504, "upstream_too_slow")
    assert error.message == "Model 'slm': the stream began with less than 100 tokens a second"


@pytest.mark.parametrize(
    "steps",
    [
        STREAM,
        [[chunk("x")], [chunk(finish="stop")], HANG],
        [[ROLE], [chunk(finish="stop"), b"[DONE]"]],
    ],
)
async def test_a_short_answer_is_not_slow(steps: list[Any]) -> None:
    gateway = Dispatching([model(timeouts=FLOOR)], {"slm-0": [streams(steps)]})
    async with gateway.dispatch(call(stream=True)) as reply:
        assert reply.events is not None
        assert await anext(aiter(reply.events))
    assert len(gateway.record.attempts) == 1


@pytest.mark.parametrize("end", [CUT, []])
async def test_a_stream_that_breaks_while_it_is_probed_is_asked_elsewhere(end: Any) -> None:
    gateway = Dispatching(
        [model(replicas=2, timeouts=FLOOR)],
        {"slm-1": [streams([[ROLE], [chunk("a")], end])], "slm-0": [streams(FAST)]},
    )
    assert (await gateway.ask(stream=True))[1] == chunk("0")
    assert gateway.tried == [("slm/1", "upstream_error"), ("slm/0", "")]


async def test_a_fast_stream_waits_for_its_first_tokens_only() -> None:
    gateway = Dispatching([model(timeouts=FLOOR)], {"slm-0": [streams([*FAST[:6], HANG])]})
    async with gateway.dispatch(call(stream=True)) as reply:
        assert reply.events is not None
        assert await anext(aiter(reply.events)) == [ROLE, *(chunk(str(at)) for at in range(5))]


async def test_a_whole_answer_has_no_floor() -> None:
    gateway = Dispatching([model(timeouts=FLOOR)])
    assert await gateway.ask() == [whole()]


# --- a first byte that comes late (failure 3)


async def test_a_late_first_byte_costs_its_limit_once_then_the_next_target() -> None:
    """Whether it waits for the headers or for the first event."""
    late = Timeouts(first_byte_s=0.05)
    for answer in (lambda: HANG, streams([HANG])):
        gateway = Dispatching([model(timeouts=late), large()], {"slm-0": [answer], "llm-0": [streams()]})
        await gateway.ask(stream=True)
        assert gateway.upstream.hosts == ["slm-0", "llm-0"], "it is not asked again"
        gateway = Dispatching([model(timeouts=late)], {"slm-0": [answer]})
        await gateway.fails(UpstreamTimedOut, stream=True)
        assert gateway.upstream.hosts == ["slm-0"], "not even where nobody else can answer"
        gateway = Dispatching([model(replicas=2, timeouts=late)], {"slm-1": [answer], "slm-0": [streams()]})
        await gateway.ask(stream=True)
        assert gateway.upstream.hosts == ["slm-1", "slm-0"]
