"""What follows a failure: a retry, the next rung, a rest for the replica, or the error itself."""

from __future__ import annotations

import asyncio
import json
from time import monotonic
from typing import Any

import pytest

from router.config.model_options import Timeouts
from router.errors import (
    ApiError,
    NotEligible,
    Overloaded,
    Unavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from router.replicas.liveness import Unwatched
from tests.support.failing import AS_PERSON, BAD, CUT, FULL, GOOD, TOO_LONG, UNREACHABLE
from tests.support.fakes import (
    DONE,
    HANG,
    ROLE,
    FakeExchange,
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

# --- one rung up


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (UNREACHABLE, "unavailable"),
        (CUT, "upstream_error"),
        (refuses(500), "upstream_error"),
        (refuses(404, b"<html>"), "misconfigured"),
        (refuses(400), "rejected"),
        (refuses(400, {"error": {"code": "missing_required_parameter"}}), None),
        (refuses(401), "misconfigured"),
        (refuses(402), "misconfigured"),
        (refuses(413), "rejected"),
        (refuses(429, FULL), "overloaded"),
        (refuses(503, FULL), "overloaded"),
        (refuses(504), "timeout"),
        (refuses(400, TOO_LONG), "context"),
        (lambda: FakeExchange(body=b"not json"), "upstream_error"),
        (lambda: FakeExchange(body=b'{"choices": []}'), "upstream_error"),
        (lambda: FakeExchange(body=whole(finish=None)), "upstream_error"),
        (lambda: FakeExchange(body=UpstreamFailed("broke off")), "upstream_error"),  # type: ignore[arg-type]
        (refuses(500, b"\xff" * 9), "upstream_error"),
    ],
)
async def test_a_whole_answer_that_cannot_be_had(answer: Any, reason: str | None) -> None:
    gateway = Dispatching(script={"slm-0": [answer]})
    if reason is None:
        await gateway.fails(UpstreamRejected)
        assert gateway.steps == []
        assert gateway.tried == [("slm/0", "rejected")]
        assert gateway.record.model == ""
        return
    assert await gateway.ask() == [whole()]
    assert gateway.steps == [("slm", "llm", reason)]
    assert gateway.tried == [("slm/0", reason), ("llm/0", "")]
    assert gateway.headers["reason"] == reason
    assert gateway.headers["attempts"] == "2"
    assert gateway.record.model == "llm"


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        ([], "upstream_error"),
        ([UpstreamFailed("cut")], "upstream_error"),
        ([UpstreamTimedOut("stall")], "timeout"),
        ([[ROLE], UpstreamTimedOut("stall")], "timeout"),
        ([[ROLE, DONE]], "upstream_error"),
        ([[b"junk"]], "upstream_error"),
        ([[b'{"choices": "junk"}']], "upstream_error"),
        ([[ROLE], [json.dumps(TOO_LONG).encode()]], "context"),
        ([[b'{"error": {"message": "x", "code": 429}}']], "overloaded"),
    ],
)
async def test_a_stream_that_breaks_before_its_first_content(steps: list[Any], reason: str) -> None:
    gateway = Dispatching(script={"slm-0": [streams(steps)], "llm-0": [streams()]})
    assert (await gateway.ask(stream=True))[1] == chunk("Pa")
    assert gateway.steps == [("slm", "llm", reason)]
    assert gateway.tried == [("slm/0", reason), ("llm/0", "")]


@pytest.mark.parametrize("last", [UpstreamFailed("cut"), UpstreamTimedOut("stall"), [DONE], [], [b"{"]])
async def test_a_stream_that_breaks_after_its_first_content_has_no_other_answer(last: Any) -> None:
    gateway = Dispatching(script={"slm-0": [streams([[ROLE], [chunk("Pa")], last])]})
    got, _ = await gateway.breaks(ApiError)
    assert got == [ROLE, chunk("Pa")]
    assert gateway.upstream.hosts == ["slm-0"]
    assert gateway.record.model == "slm"
    assert gateway.record.attempts[0].failure


async def test_the_abilities_of_a_model_are_known_before_it_is_asked() -> None:
    gateway = Dispatching([model(abilities=frozenset()), large()])
    await gateway.ask(tools=[{"type": "function", "function": {"name": "f"}}])
    assert gateway.upstream.hosts == ["llm-0"]
    assert gateway.steps == [("slm", "llm", "ability")]
    assert len(gateway.record.attempts) == 1


async def test_so_is_a_prompt_that_is_surely_too_long() -> None:
    gateway = Dispatching([model(context=10), large()])
    await gateway.ask(messages=[{"role": "user", "content": "x" * 1000}])
    assert gateway.upstream.hosts == ["llm-0"]
    assert gateway.steps == [("slm", "llm", "context")]


async def test_three_rungs() -> None:
    gateway = Dispatching([model("a"), model("b"), large("c")], {"a-0": [refuses(500)], "b-0": [refuses(429, FULL)]})
    await gateway.ask()
    assert gateway.steps == [("a", "b", "upstream_error"), ("b", "c", "overloaded")]
    assert gateway.headers["reason"] == "overloaded"


async def test_when_the_last_rung_fails_too_its_error_is_told() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(500)], "llm-0": [refuses(429, FULL, 9.0)]})
    error = await gateway.fails(UpstreamRejected)
    assert (error.status, error.retry_after_s) == (429, 9.0)
    assert gateway.record.model == ""
    assert gateway.record.bill().saved is None


async def test_a_fallback_that_may_not_be_asked_does_not_hide_why_the_first_failed() -> None:
    """The client is told to come back (503), not that the large model is too dear (400)."""
    gateway = Dispatching(script={"slm-0": [refuses(503, FULL, 3.0)]})
    error = await gateway.fails(Overloaded, routing={"max_cost_usd": 0.0}, max_tokens=100)
    assert error.retry_after_s == 3.0
    gateway = Dispatching([model(), large(abilities=frozenset())], {"slm-0": [refuses(500)]})
    await gateway.fails(UpstreamFailed, logprobs=True)


async def test_where_no_rung_may_be_asked_the_last_one_says_why() -> None:
    gateway = Dispatching([model(abilities=frozenset()), large(abilities=frozenset())])
    error = await gateway.fails(NotEligible, logprobs=True)
    assert "'llm'" in error.message
    assert gateway.upstream.sent == []


# --- again on the same rung


async def test_another_replica_takes_over() -> None:
    gateway = Dispatching([model(replicas=2), large()], {"slm-0": [refuses(500)], "slm-1": [refuses(500)]})
    await gateway.ask()
    assert sorted(gateway.upstream.hosts[:2]) == ["slm-0", "slm-1"]
    assert gateway.upstream.hosts[2] == "llm-0"
    assert gateway.record.retries == [("slm", "upstream_error")]
    assert gateway.steps == [("slm", "llm", "upstream_error")]


@pytest.mark.parametrize("answer", [UNREACHABLE, CUT, refuses(500), refuses(429, FULL), refuses(504)])
async def test_a_replica_that_fails_is_invisible_where_another_answers(answer: Any) -> None:
    gateway = Dispatching([model(replicas=2)])
    gateway.upstream.script["slm-1"] = [answer]  # the first turn is slm/1's
    assert await gateway.ask() == [whole()]
    assert gateway.upstream.hosts == ["slm-1", "slm-0"]
    assert gateway.steps == []
    assert [failure for _, failure in gateway.tried][1:] == [""]


async def test_the_only_replica_of_the_only_rung_is_asked_again_after_a_lost_connection() -> None:
    gateway = Dispatching([model()], {"slm-0": [CUT, answers()]})
    assert await gateway.ask() == [whole()]
    assert gateway.record.retries == [("slm", "upstream_error")]
    assert gateway.tried == [("slm/0", "upstream_error"), ("slm/0", "")]


async def test_one_retry_a_request_however_many_rungs() -> None:
    failing = {host: [refuses(500)] for host in ("slm-0", "slm-1", "llm-0", "llm-1")}
    gateway = Dispatching([model(replicas=2), large(replicas=2)], failing)
    await gateway.fails(UpstreamFailed)
    assert len(gateway.upstream.hosts) == 3
    assert sorted(gateway.upstream.hosts[:2]) == ["slm-0", "slm-1"]
    assert gateway.record.retries == [("slm", "upstream_error")]
    assert gateway.headers["attempts"] == "3"


async def test_a_retry_that_was_not_used_below_is_left_for_above() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(500)], "llm-0": [CUT, answers()]})
    await gateway.ask()
    assert gateway.upstream.hosts == ["slm-0", "llm-0", "llm-0"]
    assert gateway.record.retries == [("llm", "upstream_error")]


async def test_an_invalid_answer_is_asked_again_also_after_a_retry() -> None:
    gateway = Dispatching(
        [model(replicas=2), large()],
        {"slm-0": [refuses(500)], "slm-1": [refuses(500)], "llm-0": [answers(BAD), answers(GOOD)]},
    )
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.record.retries == [("slm", "upstream_error"), ("llm", "structured")]
    assert gateway.headers["attempts"] == "4"


@pytest.mark.parametrize("answer", [refuses(429, FULL), refuses(504)])
async def test_but_not_where_it_is_stuck_or_full(answer: Any) -> None:
    gateway = Dispatching([model()], {"slm-0": [answer]})
    with pytest.raises(ApiError):
        await gateway.ask()
    assert gateway.upstream.hosts == ["slm-0"]


async def test_a_replica_that_is_down_is_not_asked() -> None:
    gateway = Dispatching([model(), large()])

    gateway.pools["slm"].replicas[0].liveness = Unwatched(up=False, detail="slm/0 starts")
    await gateway.ask()
    assert gateway.upstream.hosts == ["llm-0"]
    assert gateway.steps == [("slm", "llm", "unavailable")]
    assert len(gateway.record.attempts) == 1
    error = await gateway.fails(Unavailable, model="slm")
    assert "slm/0 starts" in error.message


# --- the breaker


async def test_three_failures_rest_a_replica_and_a_success_wakes_it() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(500)]})
    for _ in range(3):
        await gateway.ask()
    assert gateway.upstream.hosts.count("slm-0") == 3
    await gateway.ask()
    assert gateway.upstream.hosts.count("slm-0") == 3
    assert gateway.steps == [("slm", "llm", "unavailable")]
    gateway.upstream.script["slm-0"] = [answers()]
    await gateway.ask(model="slm")  # nobody else can answer: it is asked all the same
    await gateway.ask()
    assert gateway.record.model == "slm"


@pytest.mark.parametrize(
    ("answer", "fields"),
    [
        (refuses(400), {}),
        (refuses(429, FULL), {}),
        (refuses(503, FULL), {}),
        (refuses(400, TOO_LONG), {}),
        (refuses(401), {}),
        (answers(BAD), {"response_format": AS_PERSON}),
        (HANG, {"routing": {"deadline_ms": 1}}),
        (lambda: FakeExchange(body=HANG), {"routing": {"deadline_ms": 1}}),  # type: ignore[arg-type]
        (streams([[ROLE], HANG]), {"routing": {"deadline_ms": 1}, "stream": True}),
        (streams([[chunk("x")], HANG]), {"routing": {"deadline_ms": 1}, "stream": True}),
    ],
)
async def test_what_a_client_can_cause_never_rests_a_replica(answer: Any, fields: dict[str, Any]) -> None:
    gateway = Dispatching([model()], {"slm-0": [answer if answer is not HANG else lambda: HANG]})
    for _ in range(5):
        with pytest.raises(ApiError):
            await gateway.ask(**fields)
    assert gateway.pools["slm"].replicas[0].breaker.failures == 0


# --- limits of time


@pytest.mark.parametrize(
    ("answer", "stream"),
    [
        (lambda: HANG, False),
        (lambda: HANG, True),
        (lambda: FakeExchange(body=HANG), False),  # type: ignore[arg-type]
        (lambda: FakeExchange(status=500, body=HANG), True),  # type: ignore[arg-type]
    ],
)
async def test_an_upstream_that_hangs_is_left_for_the_next_rung(answer: Any, stream: bool) -> None:
    limits = Timeouts(first_byte_s=0.01) if stream else Timeouts(total_s=0.01)
    script = {"slm-0": [answer], "llm-0": [streams() if stream else answers()]}
    gateway = Dispatching([model(timeouts=limits), large()], script)
    await gateway.ask(stream=stream)
    assert gateway.steps == [("slm", "llm", "timeout")]
    assert gateway.pools["slm"].replicas[0].breaker.failures == 1


@pytest.mark.parametrize("deadline_ms", [0, 1, 5])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_deadline_ends_everything_at_once(deadline_ms: int, stream: bool) -> None:
    gateway = Dispatching([model(replicas=2), large()], {host: [lambda: HANG] for host in ("slm-0", "slm-1", "llm-0")})
    error = await gateway.fails(UpstreamTimedOut, stream=stream, routing={"deadline_ms": deadline_ms})
    assert (error.status, error.code) == (504, "deadline_exceeded")
    assert len(gateway.upstream.hosts) <= 1, "nobody else is asked when the time is over"


async def test_the_deadline_counts_from_the_requests_start() -> None:
    gateway = Dispatching(script={"slm-0": [lambda: HANG]})
    gateway.record.started = monotonic() - 100
    with pytest.raises(UpstreamTimedOut):
        async with gateway.dispatch(call(routing={"deadline_ms": 99_000})):
            pass


async def test_the_deadline_ends_a_stream_that_has_begun() -> None:
    gateway = Dispatching(script={"slm-0": [streams([[chunk("x")], HANG])]})
    got, error = await gateway.breaks(UpstreamTimedOut, routing={"deadline_ms": 300})
    assert error.code == "deadline_exceeded"
    assert got == [chunk("x")]


async def test_a_whole_answer_has_met_the_deadline() -> None:
    gateway = Dispatching()
    async with gateway.dispatch(call(routing={"deadline_ms": 300})) as reply:
        await asyncio.sleep(0.35)  # the client reads slowly
    assert reply.body == whole()


async def test_a_timeout_of_the_clients_own_side_is_not_the_deadline() -> None:
    gateway = Dispatching()
    with pytest.raises(TimeoutError):
        async with gateway.dispatch(call(routing={"deadline_ms": 9000})):
            raise TimeoutError


async def test_an_upstreams_failure_names_its_model_once() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(500)]})
    error = await gateway.fails(UpstreamFailed, model="slm")
    assert error.message == "Model 'slm': the upstream answered 500: no"
    gateway = Dispatching(script={"slm-0": [streams([[chunk("x")]])]})
    _, error = await gateway.breaks(UpstreamFailed)
    assert error.message == "Model 'slm': the upstream ended its stream before it finished the answer"


async def test_an_attempt_that_nobody_waits_for_any_more_is_abandoned() -> None:
    gateway = Dispatching(script={"slm-0": [lambda: HANG]})
    await gateway.fails(UpstreamTimedOut, routing={"deadline_ms": 50})
    assert [attempt.failure for attempt in gateway.record.attempts] == ["abandoned"]
