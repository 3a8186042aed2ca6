"""The whole decision tree with a fake upstream: no sockets, no waiting."""

from __future__ import annotations

import asyncio
import json
from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from router.config.model_options import Timeouts
from router.config.models import Config, Model, Route
from router.errors import (
    ApiError,
    NotEligible,
    NotFound,
    UpstreamFailed,
    UpstreamRejected,
    UpstreamTimedOut,
)
from router.messages.chat import ChatCompletions
from router.types import Ability, Usage
from tests.support.cancelling import cancel_after
from tests.support.failing import AS_PERSON, BAD, CUT, FULL, GOOD, UNREACHABLE
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
    assert gateway.headers["adapted"] == "min_p=dropped, top_k=dropped"
    assert "top_k" not in gateway.upstream.sent[0].body
    gateway = Dispatching(script={"llm-0": [refuses(500)]})
    await gateway.ask(top_k=3)
    assert "adapted" not in gateway.headers, "vLLM takes it"


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


# --- clients that leave


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
        done = await cancel_after(gateway.ask(**fields), steps)
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
            assert gateway.record.answering is not None
            assert gateway.record.answering.failure == ""
        gateway.all_is_released()
        assert 1 <= len(gateway.record.attempts) <= 4
        record = gateway.record
        assert len(record.attempts) == 1 + len(record.retries) + len(record.escalations)

    asyncio.run(live())


def test_streams_are_what_the_fakes_say() -> None:
    assert STREAM[-1][-1] == DONE
