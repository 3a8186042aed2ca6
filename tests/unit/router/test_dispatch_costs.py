"""What a request is charged, and what it may cost."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from router.errors import (
    ApiError,
    NotEligible,
    StructuredOutputViolation,
    UpstreamFailed,
)
from router.money import cost
from router.money.price import ServiceTier
from router.types import RoutingOptions, Usage
from tests.support.failing import AS_PERSON, FULL
from tests.support.fakes import (
    DONE,
    HANG,
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


# --- service tiers

FLEX = {"flex": ServiceTier(input_usd_per_mtok=0.2, cached_input_usd_per_mtok=0.05, output_usd_per_mtok=0.8)}
BY_TIER = TOKENS.model_copy(update={"service_tiers": FLEX})


def in_tier(tier: str | None, *, stream: bool) -> Any:
    """An answer of 10 and 5 tokens whose upstream says in which tier it served it."""
    named = {"service_tier": tier}
    if not stream:
        return lambda: FakeExchange(body=json.dumps(json.loads(whole()) | named).encode())
    events = [json.dumps(json.loads(event) | named).encode() for event in (chunk("x"), chunk(finish="stop"))]
    return streams([[*events, usage_chunk(), DONE]])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("tier", "nano"),
    [
        ("flex", 10 * 200 + 5 * 800),
        ("default", 10 * 400 + 5 * 1600),
        (None, 10 * 400 + 5 * 1600),
        ("priority", None),  # its price is unknown, which is not 0
    ],
)
async def test_the_tier_that_the_answer_names_is_charged(tier: str | None, nano: int | None, stream: bool) -> None:
    gateway = Dispatching([large(price=BY_TIER)], {"llm-0": [in_tier(tier, stream=stream)]})
    await gateway.ask(service_tier="flex", stream=stream)
    assert gateway.record.cost_nano_usd == nano


async def test_what_is_saved_is_counted_in_the_tier_that_the_client_asks_for() -> None:
    gateway = Dispatching([model(), large(price=BY_TIER)])
    await gateway.ask(service_tier="flex")
    assert gateway.record.fallback_cost_nano_usd == 10 * 200 + 5 * 800
    await gateway.ask(service_tier="priority")
    assert gateway.record.bill().saved is None


async def test_a_broken_stream_is_charged_in_the_tier_that_was_asked_for() -> None:
    gateway = Dispatching([large(price=BY_TIER)], {"llm-0": [streams([[chunk("a")], UpstreamFailed("cut")])]})
    with pytest.raises(UpstreamFailed):
        await gateway.ask(stream=True, service_tier="flex")
    [attempt] = gateway.record.attempts
    assert attempt.cost_nano_usd == cost.token_cost(attempt.estimate or Usage(), BY_TIER, "flex")
    assert attempt.estimate


@pytest.mark.parametrize(("tier", "eligible"), [("flex", True), ("priority", False)])
async def test_the_limit_of_a_request_counts_in_the_dearest_tier_that_it_may_get(tier: str, eligible: bool) -> None:
    gateway = Dispatching([large(price=BY_TIER)])
    one = call(max_tokens=100, service_tier=tier, routing={"max_cost_usd": 0.01})
    if eligible:
        await gateway.ask(one)
    else:
        assert "an unknown amount" in (await gateway.fails(NotEligible, one)).message
