"""The whole decision tree with a fake upstream: no sockets, no waiting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from time import monotonic
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from router.config.models import Config, Model, Route, Timeouts
from router.errors import (
    ApiError,
    BadRequest,
    NotEligible,
    NotFound,
    Overloaded,
    StructuredOutputViolation,
    Unavailable,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from router.messages.chat import ChatCompletions
from router.money import cost
from router.replicas.pool import Unwatched
from router.types import Ability, RoutingOptions, Usage
from tests.support.fakes import (
    DONE,
    HANG,
    ROLE,
    STREAM,
    TOKENS,
    FakeExchange,
    answers,
    call,
    chunk,
    large,
    model,
    refuses,
    streams,
    usage_chunk,
    whole,
)
from tests.support.inprocess import Dispatching

UNREACHABLE = UpstreamFailed("the upstream could not be reached", code="upstream_unreachable")
CUT = UpstreamFailed("the upstream closed the connection without an answer")
PERSON = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
AS_PERSON = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
GOOD, BAD = '{"age": 42}', '{"age": "old"}'


# --- the small model answers


async def test_a_whole_answer_is_handed_on_as_it_came() -> None:
    gateway = Dispatching()
    assert await gateway.ask() == [whole()]
    assert gateway.upstream.hosts == ["slm-0"]
    assert gateway.tried == [("slm/0", "")]
    record = gateway.record
    assert (record.route, record.model, record.reason, record.structured) == ("auto", "slm", "fixed", "none")
    assert record.usage == Usage(10, 0, 5)
    assert gateway.headers == {
        "model": "slm", "route": "auto", "reason": "fixed", "attempts": "1", "structured": "none",
    }  # fmt: skip
    assert record.fallback_cost_nano_usd == 10 * 400 + 5 * 1600
    assert record.cost_nano_usd is not None
    assert record.bill().saved == record.fallback_cost_nano_usd - record.cost_nano_usd


async def test_what_is_sent() -> None:
    gateway = Dispatching([model(upstream_model="org/Small", timeouts=Timeouts(connect_s=3))])
    await gateway.ask(top_k=3)
    (sent,) = gateway.upstream.sent
    assert sent.url == "http://slm-0/v1/chat/completions"
    assert sent.headers == {"Content-Type": "application/json", "X-Request-Id": "req_1-1"}
    assert sent.body["model"] == "org/Small"
    assert sent.body["top_k"] == 3
    assert sent.connect_s == 3


async def test_each_attempt_has_an_id_of_its_own() -> None:
    gateway = Dispatching([model()], {"slm-0": [CUT, answers()]})
    await gateway.ask()
    assert [sent.headers["X-Request-Id"] for sent in gateway.upstream.sent] == ["req_1-1", "req_1-2"]


async def test_completions_go_to_their_own_path() -> None:
    gateway = Dispatching()
    await gateway.ask(endpoint="completions", prompt="x")
    assert gateway.upstream.sent[0].url == "http://slm-0/v1/completions"


async def test_a_key_goes_to_its_own_upstream_only() -> None:
    llm = large(api_key=SecretStr("sk-canary"))
    gateway = Dispatching([model(), llm], {"slm-0": [refuses(500)]})
    await gateway.ask()
    assert [sent.headers.get("Authorization") for sent in gateway.upstream.sent] == [None, "Bearer sk-canary"]


async def test_a_stream_is_handed_on_from_its_first_content() -> None:
    gateway = Dispatching(script={"slm-0": [streams()]})
    assert await gateway.ask(stream=True) == [ROLE, chunk("Pa"), chunk("ris."), chunk(finish="stop")]
    assert gateway.upstream.sent[0].body["stream_options"] == {"include_usage": True}
    assert gateway.record.usage == Usage(10, 0, 5)
    assert gateway.record.first_token_s is not None
    assert gateway.record.bill().saved is not None


async def test_the_first_byte_limit_is_the_streams() -> None:
    limits = Timeouts(first_byte_s=7, idle_s=3, total_s=100)
    gateway = Dispatching([model(timeouts=limits)], {"slm-0": [streams()]})
    await gateway.ask(stream=True)
    assert gateway.upstream.exchanges[0].waits[:2] == pytest.approx([7, 3], abs=0.5)


async def test_fields_that_an_upstream_cannot_take_are_named() -> None:
    gateway = Dispatching()
    await gateway.ask(model="llm", top_k=3, min_p=0.1)
    assert gateway.headers["dropped"] == "min_p, top_k"
    assert "top_k" not in gateway.upstream.sent[0].body
    gateway = Dispatching(script={"llm-0": [refuses(500)]})
    await gateway.ask(top_k=3)
    assert "dropped" not in gateway.headers, "vLLM takes it"


# --- one rung up


FULL = {"error": {"message": "full"}}
TOO_LONG = {"error": {"message": "This model's maximum context length is 2048 tokens.", "code": 400}}
NOT_ENFORCEABLE = {"error": {"message": "contains features not supported by xgrammar.", "code": 400}}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (UNREACHABLE, "unavailable"),
        (CUT, "upstream_error"),
        (refuses(500), "upstream_error"),
        (refuses(404, b"<html>"), None),
        (refuses(400), None),
        (refuses(401), "upstream_error"),
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


# --- who may be asked


async def test_a_pinned_model_is_never_swapped() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(500)]})
    await gateway.fails(UpstreamFailed, model="slm")
    assert gateway.upstream.hosts == ["slm-0", "slm-0"]
    assert gateway.record.route == "slm"
    gateway = Dispatching()
    await gateway.ask(model="llm")
    assert gateway.upstream.hosts == ["llm-0"]
    assert gateway.record.bill().saved == 0


async def test_a_pinned_model_is_asked_also_without_fallback() -> None:
    gateway = Dispatching()
    await gateway.ask(model="llm", routing={"allow_fallback": False})
    assert gateway.upstream.hosts == ["llm-0"]


@pytest.mark.parametrize("name", ["nope", "", "x" * 1000])
async def test_an_unknown_model(name: str) -> None:
    gateway = Dispatching()
    error = await gateway.fails(NotFound, model=name)
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert gateway.record.route == "", "what a client makes up is no label"
    assert len(error.message) < 300


async def test_a_model_that_is_left_out() -> None:
    slm = model()
    gateway = Dispatching([slm], config=Config({"slm": slm}, {}, {"llm": "no key"}))
    error = await gateway.fails(NotFound, model="llm")
    assert "is configured but not available here" in error.message


async def test_without_fallback_the_small_model_serves_alone() -> None:
    gateway = Dispatching(script={"slm-0": [refuses(500)]})
    await gateway.fails(UpstreamFailed, routing={"allow_fallback": False})
    assert gateway.upstream.hosts == ["slm-0", "slm-0"], "nobody else can answer: it is asked twice"
    assert gateway.steps == []


async def test_without_fallback_a_route_of_one_rung_still_has_it() -> None:
    gateway = Dispatching([model()])
    await gateway.ask(routing={"allow_fallback": False})
    assert gateway.upstream.hosts == ["slm-0"]


async def test_without_fallback_only_the_last_as_written_is_dropped() -> None:
    gateway = Dispatching(
        [model("a"), model("b"), large("c")], {"a-0": [refuses(429, FULL)], "b-0": [refuses(429, FULL)]}
    )
    await gateway.fails(UpstreamRejected, routing={"allow_fallback": False})
    assert gateway.upstream.hosts == ["a-0", "b-0"]
    assert gateway.steps == [("a", "b", "overloaded")]


async def test_where_the_fallback_is_left_out_no_other_is_dropped_in_its_place() -> None:
    a, b, absent = model("a"), model("b"), large("c")
    served = Config({"a": a, "b": b}, {"auto": Route("auto", ((a,), (b,)), absent)}, {"c": "no key"})
    gateway = Dispatching([a, b], {"a-0": [refuses(429, FULL)]}, config=served)
    await gateway.ask(routing={"allow_fallback": False})
    assert gateway.upstream.hosts == ["a-0", "b-0"]
    assert gateway.record.fallback is absent
    assert gateway.record.fallback_cost_nano_usd == 10 * 400 + 5 * 1600, "what a user without a key saves"
    alone = Config({"a": a}, {"auto": Route("auto", ((a,),), absent)}, {"c": "no key"})
    gateway = Dispatching([a], config=alone)
    await gateway.ask(routing={"allow_fallback": False})
    assert gateway.upstream.hosts == ["a-0"]


async def test_a_completion_goes_to_who_serves_completions_only() -> None:
    def of(*able: Ability) -> Model:
        return large(abilities=frozenset[Ability](able))

    gateway = Dispatching([model(abilities=frozenset({"tools"})), of("completions")])
    await gateway.ask(endpoint="completions", prompt="x")
    assert gateway.upstream.hosts == ["llm-0"]
    assert gateway.steps == [("slm", "llm", "ability")]
    gateway = Dispatching(script={"slm-0": [refuses(500)]})
    await gateway.fails(UpstreamFailed, endpoint="completions", prompt="x")
    assert set(gateway.upstream.hosts) == {"slm-0"}, "an API has none unless it is said"
    error = await gateway.fails(NotEligible, endpoint="completions", prompt="x", model="llm")
    assert (error.code, error.status) == ("unsupported_by_model", 400)
    assert "completions" in error.message
    gateway = Dispatching([model(abilities=frozenset()), large()])
    await gateway.ask(prompt="x")
    assert gateway.upstream.hosts == ["slm-0"], "a chat does not need it"


async def test_the_client_may_choose_the_policy() -> None:
    hard = [{"role": "user", "content": "x" * 40_000}]
    gateway = Dispatching()
    await gateway.ask(messages=hard, routing={"policy": "heuristic"})
    assert gateway.upstream.hosts == ["llm-0"]
    assert gateway.steps == [("slm", "llm", "policy")]
    assert gateway.headers["reason"] == "heuristic: long prompt"
    gateway = Dispatching(settings={"policy": "heuristic"})
    await gateway.ask(messages=hard, routing={"policy": "fixed"})
    assert gateway.upstream.hosts == ["slm-0"]


async def test_the_policy_of_the_route() -> None:
    gateway = Dispatching(settings={"policy": "heuristic"})
    await gateway.ask()
    assert gateway.upstream.hosts == ["slm-0"]
    assert gateway.record.decision is not None
    assert gateway.record.decision.score == 0.0


async def test_the_policy_cannot_choose_what_the_client_does_not_allow() -> None:
    gateway = Dispatching(settings={"policy": "heuristic"})
    hard = [{"role": "user", "content": "x" * 40_000}]
    await gateway.ask(messages=hard, routing={"allow_fallback": False})
    assert gateway.upstream.hosts == ["slm-0"]


async def test_a_cost_limit_keeps_the_dear_model_out() -> None:
    gateway = Dispatching([large("a", price=TOKENS), model("b")])
    await gateway.ask(max_tokens=10_000, routing={"max_cost_usd": 0.001})
    assert gateway.steps == [("a", "b", "cost")]


# --- structured answers


async def test_a_valid_answer_is_accepted_as_decoded() -> None:
    gateway = Dispatching(script={"slm-0": [answers(GOOD)]})
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.headers["structured"] == "decoded"
    assert gateway.record.verdicts == [("slm", "json_schema", "valid")]


async def test_an_invalid_one_is_asked_again() -> None:
    gateway = Dispatching(script={"slm-0": [answers(BAD), answers(GOOD)]})
    assert await gateway.ask(response_format=AS_PERSON) == [whole(GOOD)]
    assert gateway.headers["structured"] == "retried"
    assert gateway.record.retries == [("slm", "structured")]
    assert [word for *_, word in gateway.record.verdicts] == ["invalid", "valid"]
    assert gateway.tried == [("slm/0", "structured"), ("slm/0", "")]


@pytest.mark.parametrize("stream", [False, True])
async def test_twice_invalid_goes_up(stream: bool) -> None:
    def of(text: str) -> Callable[[], FakeExchange]:
        events = [[ROLE, chunk(text)], [chunk(finish="stop"), usage_chunk(), DONE]]
        return streams(events) if stream else answers(text)

    gateway = Dispatching(script={"slm-0": [of(BAD)], "llm-0": [of(GOOD)]})
    got = await gateway.ask(response_format=AS_PERSON, stream=stream)
    assert not any(BAD.encode() in part for part in got)
    assert any(json.dumps(GOOD).encode() in part for part in got)
    assert gateway.upstream.hosts == ["slm-0", "slm-0", "llm-0"]
    assert gateway.headers["structured"] == "escalated"
    assert gateway.headers["reason"] == "structured"
    assert gateway.headers["attempts"] == "3"
    record = gateway.record
    costs = [attempt.cost_nano_usd for attempt in record.attempts]
    assert costs[2] == 10 * 400 + 5 * 1600
    assert record.cost_nano_usd == sum(cost or 0 for cost in costs)
    assert record.bill().saved == -sum(cost or 0 for cost in costs[:2])


async def test_invalid_everywhere_is_an_error_and_no_answer() -> None:
    gateway = Dispatching(script={"slm-0": [answers(BAD)], "llm-0": [answers(BAD)]})
    error = await gateway.fails(StructuredOutputViolation, response_format=AS_PERSON)
    assert error.status == 502
    assert "'llm'" in error.message
    assert gateway.upstream.hosts == ["slm-0", "slm-0", "llm-0", "llm-0"]
    assert len(gateway.record.verdicts) == 4
    assert gateway.record.cost_nano_usd is not None


async def test_every_choice_is_checked() -> None:
    choices = [
        {"index": i, "message": {"content": text}, "finish_reason": "stop"} for i, text in enumerate([GOOD, BAD])
    ]
    both = json.dumps({"choices": choices}).encode()
    gateway = Dispatching([model()], {"slm-0": [lambda: FakeExchange(body=both)]})
    await gateway.fails(StructuredOutputViolation, response_format=AS_PERSON, n=2)


async def test_a_stream_that_is_checked_is_held_back_until_it_is_whole() -> None:
    steps = [[ROLE, chunk(GOOD[:4])], [chunk(GOOD[4:])], UpstreamFailed("cut")]
    good = [[ROLE, chunk(GOOD)], [chunk(finish="stop"), DONE]]
    gateway = Dispatching(script={"slm-0": [streams(steps)], "llm-0": [streams(good)]})
    got = await gateway.ask(response_format=AS_PERSON, stream=True)
    assert got == [ROLE, chunk(GOOD), chunk(finish="stop")], "nothing of the first, which broke off"


async def test_a_truncated_answer_says_so_itself() -> None:
    gateway = Dispatching(script={"slm-0": [lambda: FakeExchange(body=whole('{"age', finish="length"))]})
    await gateway.ask(response_format=AS_PERSON)
    assert gateway.record.verdicts == [("slm", "json_schema", "truncated")]
    assert gateway.headers["structured"] == "truncated"


def _of_choices(*choices: tuple[str | None, str]) -> bytes:
    made = [
        {"index": i, "message": {"content": text, "refusal": None if text else "no"}, "finish_reason": finish}
        for i, (text, finish) in enumerate(choices)
    ]
    return json.dumps({"choices": made}).encode()


CUT_SHORT, WHOLE, REFUSED = ('{"age', "length"), (GOOD, "stop"), (None, "stop")


@pytest.mark.parametrize(
    ("plays", "n", "said"),
    [
        ([_of_choices(REFUSED)], 1, "refused"),
        ([_of_choices((BAD, "content_filter"))], 1, "refused"),
        ([_of_choices(CUT_SHORT, WHOLE)], 2, "truncated"),
        ([_of_choices(WHOLE, CUT_SHORT)], 2, "truncated"),
        ([_of_choices(REFUSED, WHOLE)], 2, "refused"),
        ([whole(BAD), _of_choices(CUT_SHORT)], 1, "truncated"),
        # what an earlier attempt said is not said of the answer
        ([_of_choices(CUT_SHORT, (BAD, "stop")), _of_choices(WHOLE, WHOLE)], 2, "retried"),
    ],
)
async def test_what_became_of_any_choice_is_said(plays: list[bytes], n: int, said: str) -> None:
    gateway = Dispatching(script={"slm-0": [lambda body=body: FakeExchange(body=body) for body in plays]})
    await gateway.ask(response_format=AS_PERSON, n=n)
    assert gateway.upstream.hosts == ["slm-0"] * len(plays)
    assert gateway.headers["structured"] == said


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([chunk('{"age'), chunk(finish="length"), DONE], "truncated"),
        ([chunk(refusal="no"), chunk(finish="stop"), DONE], "refused"),
    ],
)
async def test_so_it_is_of_a_stream(events: list[bytes], said: str) -> None:
    gateway = Dispatching(script={"slm-0": [streams([events])]})
    await gateway.ask(response_format=AS_PERSON, stream=True)
    assert gateway.headers["structured"] == said


async def test_fewer_choices_than_asked_for_are_no_answer() -> None:
    gateway = Dispatching(
        script={"slm-0": [answers()], "llm-0": [lambda: FakeExchange(body=_of_choices(WHOLE, WHOLE))]}
    )
    assert await gateway.ask(n=2) == [_of_choices(WHOLE, WHOLE)]
    assert gateway.steps == [("slm", "llm", "upstream_error")]


async def test_an_invalid_schema_is_the_clients_and_nobody_is_asked() -> None:
    gateway = Dispatching()
    wrong = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "objekt"}}}
    error = await gateway.fails(BadRequest, response_format=wrong)
    assert error.status == 400
    assert gateway.upstream.sent == []


@pytest.mark.parametrize("message", [None, 5, "text", [], {"content": 5}, {"content": None}, {"content": ["a"]}])
@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
async def test_junk_instead_of_a_message_is_no_valid_answer(message: Any, kind: str) -> None:
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    gateway = Dispatching([model()], {"slm-0": [lambda: FakeExchange(body=body)]})
    wanted = AS_PERSON if kind == "json_schema" else {"type": "json_object"}
    await gateway.fails(StructuredOutputViolation, response_format=wanted)


# --- money


async def test_an_answer_without_usage_has_no_cost_rather_than_none_to_pay() -> None:
    body = json.dumps({"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}]}).encode()
    gateway = Dispatching([large()], {"llm-0": [lambda: FakeExchange(body=body)]})
    await gateway.ask()
    assert gateway.record.cost_nano_usd is None
    assert gateway.record.bill().saved is None


async def test_a_refusal_is_not_charged_by_tokens() -> None:
    gateway = Dispatching([large("a"), large("b")], {"a-0": [refuses(429, FULL)]})
    await gateway.ask()
    assert [attempt.cost_nano_usd for attempt in gateway.record.attempts] == [0, 10 * 400 + 5 * 1600]


async def test_what_a_broken_stream_used_is_charged() -> None:
    gateway = Dispatching([large()], {"llm-0": [streams([[chunk("x"), usage_chunk(100, 1)], UpstreamFailed("cut")])]})
    with pytest.raises(UpstreamFailed):
        await gateway.ask(stream=True)
    assert gateway.record.cost_nano_usd == 100 * 400 + 1600


# --- clients that leave


async def _cancel_after(work: Any, steps: int) -> bool:
    """Let the work run for some steps of the loop, then cancel it; return whether it was done before."""
    task = asyncio.ensure_future(work)
    for _ in range(steps):
        await asyncio.sleep(0)
    done = task.done()
    task.cancel()
    await asyncio.wait([task], timeout=5)
    assert task.done()
    if not done:
        assert task.cancelled() or task.exception() is None
    return done


LIVES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "whole": ({}, {}),
    "retry and escalation": ({"slm-0": [refuses(500)], "slm-1": [CUT]}, {}),
    "structured": (
        {"slm-0": [answers(BAD)], "slm-1": [answers(BAD)], "llm-0": [answers(GOOD)]},
        {"response_format": AS_PERSON},
    ),
    "stream": ({host: [streams()] for host in ("slm-0", "slm-1", "llm-0")}, {"stream": True}),
    "stream that breaks": ({"slm-0": [streams([[ROLE]])], "slm-1": [streams([[ROLE]])], "llm-0": [streams()]},
                           {"stream": True}),
    "held stream": ({host: [streams([[chunk(GOOD)], [chunk(finish="stop"), DONE]])] for host in ("slm-0", "slm-1")},
                    {"stream": True, "response_format": AS_PERSON}),
    "hang": ({host: [lambda: HANG] for host in ("slm-0", "slm-1")}, {}),
    "hang in the body": ({host: [lambda: FakeExchange(body=HANG)] for host in ("slm-0", "slm-1")}, {}),  # type: ignore[arg-type]
    "hang in the stream": ({host: [streams([[chunk("x")], HANG])] for host in ("slm-0", "slm-1")}, {"stream": True}),
    "deadline": ({host: [lambda: HANG] for host in ("slm-0", "slm-1")}, {"routing": {"deadline_ms": 60_000}}),
}  # fmt: skip


@pytest.mark.parametrize("life", LIVES)
async def test_cancelled_at_any_point_nothing_stays_taken(life: str) -> None:
    script, fields = LIVES[life]
    for steps in range(60):
        gateway = Dispatching([model(replicas=2), large()], {host: list(plays) for host, plays in script.items()})
        done = await _cancel_after(gateway.ask(**fields), steps)
        gateway.all_is_released()
        for attempt in gateway.record.attempts:
            assert attempt.busy_s >= 0
        if done:
            return
    assert "hang" in life or life == "deadline", "it never came to its end"


async def test_a_client_that_stops_reading_gives_everything_back() -> None:
    gateway = Dispatching(script={"slm-0": [streams()]})
    async with gateway.dispatch(call(stream=True)) as reply:
        assert reply.events is not None
        assert (await anext(aiter(reply.events)))[0] == ROLE
        assert gateway.pools["slm"].status(monotonic()).in_flight == 1
    gateway.all_is_released()
    assert gateway.pools["slm"].replicas[0].breaker.failures == 0


async def test_a_fault_of_our_own_gives_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise KeyError("a bug")

    monkeypatch.setattr(ChatCompletions, "parse", broken)
    gateway = Dispatching()
    with pytest.raises(KeyError):
        await gateway.ask()
    gateway.all_is_released()


# --- any upstreams at all


JUNK = st.one_of(
    st.just(b""),
    st.binary(max_size=8),
    st.sampled_from([ROLE, chunk("x"), chunk(finish="stop"), usage_chunk(), DONE, b"null", b'{"choices": [[]]}']),
    st.sampled_from([b'{"error": {"code": 400}}', b'{"error": []}', b'{"error": 7}', b'{"usage": 7}']),
)
STEPS = st.lists(st.lists(JUNK, min_size=1, max_size=3) | st.sampled_from([CUT, UpstreamTimedOut("x")]), max_size=5)
BODIES = st.binary(max_size=8) | st.sampled_from(
    [whole(), whole(GOOD), whole(BAD), whole(finish=None), b'{"choices": [1]}', b'{"choices": [{"finish_reason": 1}]}',
     b'{"choices": [{"finish_reason": 1, "message": 5}], "usage": {"prompt_tokens": "x"}}']
)  # fmt: skip
ANSWERS = st.one_of(
    st.builds(lambda status, body, steps: (lambda: FakeExchange(status=status, body=body, steps=steps)),
              st.sampled_from([200, 200, 200, 204, 302, 400, 401, 404, 408, 429, 500, 503, 599]), BODIES, STEPS),
    st.sampled_from([UNREACHABLE, CUT]),
)  # fmt: skip


@given(
    st.lists(ANSWERS, min_size=3, max_size=3),
    st.booleans(),
    st.sampled_from([{}, {"response_format": AS_PERSON}, {"response_format": {"type": "json_object"}}, {"n": 2}]),
)
def test_whatever_upstreams_do_the_client_gets_an_answer_or_one_error_and_nothing_stays_taken(
    plays: list[Any], stream: bool, fields: dict[str, Any]
) -> None:
    async def live() -> None:
        hosts = ("slm-0", "slm-1", "llm-0")
        gateway = Dispatching(
            [model(replicas=2), large()], {host: [play] for host, play in zip(hosts, plays, strict=True)}
        )
        for host, play in zip(hosts, plays, strict=True):
            if isinstance(play, ApiError):
                gateway.upstream.script[host] = [lambda play=play: play]
        failed: ApiError | None = None
        try:
            got = await gateway.ask(stream=stream, **fields)
        except ApiError as error:
            failed = error
        if failed:
            assert 400 <= failed.status < 600
            json.dumps(failed.body())
        else:
            assert got
            assert gateway.record.model in ("slm", "llm")
            assert gateway.record.attempts[-1].failure == ""
        gateway.all_is_released()
        assert 1 <= len(gateway.record.attempts) <= 4
        record = gateway.record
        assert len(record.attempts) == 1 + len(record.retries) + len(record.escalations)

    asyncio.run(live())


def test_streams_are_what_the_fakes_say() -> None:
    assert STREAM[-1][-1] == DONE


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


async def test_what_was_spent_counts_towards_the_limit() -> None:
    gateway = Dispatching([large("a", price=TOKENS), large("b", price=TOKENS)], {"a-0": [answers("{}")]})
    one = call(max_tokens=100, response_format=AS_PERSON)
    once = cost.max_cost(one.size, 100, TOKENS)
    assert once
    limited = msgspec.structs.replace(one, routing=RoutingOptions(max_cost_usd=once / 1e9))
    await gateway.fails(StructuredOutputViolation, limited)
    assert gateway.upstream.hosts == ["a-0"], "a second try could cost more than is left"
    assert gateway.steps == [("a", "b", "cost")]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (lambda: HANG, None),  # it may not even have been read
        (streams([[chunk("a"), chunk("b")], HANG]), Usage(prompt=25, completion=2)),
        (streams([[chunk("a")]]), Usage(prompt=25, completion=1)),
        (refuses(500), None),
    ],
)
async def test_what_broke_off_is_charged_by_an_estimate(script: Any, expected: Usage | None) -> None:
    gateway = Dispatching([large(price=TOKENS)], {"llm-0": [script]})
    long = [{"role": "user", "content": "x" * 100}]
    with pytest.raises(ApiError):
        await gateway.ask(messages=long, stream=True, routing={"deadline_ms": 100})
    assert gateway.record.attempts[0].estimate == expected
    assert gateway.record.cost_nano_usd == cost.token_cost(expected or Usage(), TOKENS)
