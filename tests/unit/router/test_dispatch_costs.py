"""What a request is charged, and what it may cost."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from router.errors import (
    ApiError,
    StructuredOutputViolation,
    UpstreamFailed,
)
from router.money import cost
from router.types import RoutingOptions, Usage
from tests.support.failing import AS_PERSON, FULL
from tests.support.fakes import (
    HANG,
    TOKENS,
    FakeExchange,
    answers,
    call,
    chunk,
    large,
    refuses,
    streams,
    usage_chunk,
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
