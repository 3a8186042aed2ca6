"""Breakers keep requests from failing replicas, and never leave a route with nobody to ask."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

import pytest

from router.errors import FailedLately, UpstreamFailed
from router.replicas.breaker import FAILURES_TO_OPEN, MIN_CALLS, Breaker
from tests.support.failing import FULL, UNREACHABLE
from tests.support.fakes import answers, large, model, refuses, streams
from tests.support.inprocess import Dispatching


def open_breakers(gateway: Dispatching, *models: str) -> None:
    for name in models:
        for replica in gateway.pools[name].replicas:
            for _ in range(FAILURES_TO_OPEN):
                replica.breaker.failed(monotonic(), replica.breaker.start_call(monotonic()))


def is_open(breaker: Breaker) -> bool:
    return breaker.opened_at is not None


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("big", "fields"),
    [
        ({"context": 10}, {}),  # the prompt does not fit
        ({}, {"routing": {"max_cost_usd": 0.0001}, "max_tokens": 100}),
        ({"answer": lambda: UNREACHABLE}, {}),
        ({"answer": refuses(500)}, {}),
        ({"answer": refuses(429, FULL)}, {}),
        ({"answer": refuses(401)}, {}),
    ],
)
async def test_a_model_whose_breakers_are_open_is_asked_where_nobody_else_answers(
    big: dict[str, Any], fields: dict[str, Any], stream: bool
) -> None:
    big = dict(big)
    answer = big.pop("answer", answers())
    gateway = Dispatching(
        [model(replicas=2), large(**big)],
        {host: [streams() if stream else answers()] for host in ("slm-0", "slm-1")} | {"llm-0": [answer]},
    )
    open_breakers(gateway, "slm")
    fields = {"messages": [{"role": "user", "content": "x" * 900}]} | fields
    await gateway.ask(stream=stream, **fields)
    assert gateway.record.model == "slm"
    assert gateway.headers["model"] == "slm"
    gateway.all_is_released()


async def test_another_model_that_answers_goes_first() -> None:
    gateway = Dispatching([model(), large()])
    open_breakers(gateway, "slm")
    await gateway.ask()
    assert gateway.steps == [("slm", "llm", "unavailable")]
    assert gateway.record.model == "llm"


@pytest.mark.parametrize("models", [[model()], [model(), large()]])
async def test_requests_still_go_where_every_breaker_is_open(models: list[Any]) -> None:
    gateway = Dispatching(models)
    open_breakers(gateway, *(one.name for one in models))
    [body] = await gateway.ask()
    assert json.loads(body)["choices"][0]["message"]["content"] == "Paris."
    assert gateway.record.model == models[-1].name


async def test_without_the_fallback_the_small_model_is_the_last_resort() -> None:
    gateway = Dispatching([model(), large()])
    open_breakers(gateway, "slm")
    await gateway.ask(routing={"allow_fallback": False})
    assert gateway.record.model == "slm"


async def test_no_request_ends_with_an_open_breaker_as_its_reason() -> None:
    gateway = Dispatching([model(), large()], {host: [lambda: UNREACHABLE] for host in ("slm-0", "llm-0")})
    open_breakers(gateway, "slm", "llm")
    error = await gateway.fails(UpstreamFailed)
    assert not isinstance(error, FailedLately)
    assert {name for name, _ in gateway.tried} == {"slm/0", "llm/0"}


async def test_a_replica_that_fails_every_second_call_is_left_alone() -> None:
    """It never fails three times in a row."""
    sick = [answers(), refuses(500)] * 50
    gateway = Dispatching([model(replicas=2, balance="least_loaded")], {"slm-0": sick, "slm-1": [answers()] * 200})
    for _ in range(4 * MIN_CALLS):
        await gateway.ask()
    sick_one, healthy = (replica.breaker for replica in gateway.pools["slm"].replicas)
    assert is_open(sick_one)
    assert not is_open(healthy)
    assert sick_one.calls < 2 * MIN_CALLS


@pytest.mark.parametrize("answer", [refuses(400), refuses(404), refuses(413), refuses(422), refuses(429, FULL)])
async def test_what_a_client_or_load_causes_opens_nothing(answer: Any) -> None:
    gateway = Dispatching([model()], {"slm-0": [answer]})
    for _ in range(2 * MIN_CALLS):
        with pytest.raises(Exception):  # noqa: B017, PT011 - which, other tests say
            await gateway.ask()
    assert not is_open(gateway.pools["slm"].replicas[0].breaker)
    assert gateway.pools["slm"].replicas[0].breaker.failures == 0
