"""Several answers of a small model vote."""

from __future__ import annotations

import json

import pytest

from tests.support.confidence import (
    UNSURE,
    choice,
    early,
    gateway,
    sure,
    telling,
    text_of,
    whole,
)
from tests.support.fakes import (
    HOURS,
    TOKENS,
    large,
    model,
    streams,
)
from tests.support.inprocess import Dispatching


async def test_samples_vote_and_their_share_is_the_confidence() -> None:
    votes = whole(*(choice(text, None, at) for at, text in enumerate(("Rome", "Paris", "Paris", "paris ", "Oslo"))))
    one = gateway(votes, samples=5, min_confidence=0.5)
    [body] = await one.ask(temperature=0)
    assert (one.upstream.sent[0].body["n"], one.upstream.sent[0].body["temperature"]) == (5, 0.7)
    assert [(part["index"], part["message"]["content"]) for part in json.loads(body)["choices"]] == [(0, "Paris")]
    assert one.record.judgements[0].probability == pytest.approx(4 / 7)


async def test_a_model_without_logprobs_can_vote() -> None:
    mute = model(abilities=frozenset({"tools", "structured"}))
    votes = whole(*(choice("Paris", None, at) for at in range(3)))
    one = Dispatching((mute, large()), {"slm-0": [votes]}, settings={"policy": "cascade", "samples": 3})
    await one.ask(routing={"min_confidence": 0.7})
    assert one.headers["confidence"] == "0.800"


async def test_whoever_comes_votes() -> None:
    one = gateway(whole(choice("Paris", None)), samples=5, min_confidence=0.6)
    assert text_of((await one.ask())[0]) == "Paris"
    assert one.record.judgements[0].probability == pytest.approx(2 / 3)
    assert one.pools["slm"].replicas[0].breaker.failures == 0


async def test_all_samples_count_for_the_client_s_limit() -> None:
    one = gateway(samples=32)
    asked = {"max_tokens": 10, "routing": {"max_cost_usd": 0.0003}}
    priced = model(price=TOKENS)
    one = Dispatching((priced, large(price=HOURS)), one.script, settings=one.settings)
    await one.ask(**asked)
    assert one.headers["reason"] == "cost", "32 answers of 10 tokens may cost more"


async def test_what_was_learned_of_votes_says_nothing_of_logprobs() -> None:
    one = gateway(telling(("Pa", UNSURE)), large_says=streams(), **early(0.5, samples=5))
    await one.ask(stream=True)
    assert one.record.judgements[0].gain == pytest.approx(1 - 0.135, abs=0.01), "taken at its word"


async def test_samples_that_disagree_are_not_believed() -> None:
    one = gateway(whole(*(choice(text, None, at) for at, text in enumerate("abc"))), samples=3)
    assert text_of((await one.ask())[0]) == "From the large one."
    assert one.upstream.sent[1].body.get("n") is None


async def test_a_small_model_that_answers_is_not_credited_with_its_samples() -> None:
    votes = whole(*(choice("Paris", None, at) for at in range(5)))
    one = gateway(votes, samples=5)
    await one.ask()
    assert one.record.attempts[0].samples == 5
    one_answer = gateway(sure())
    await one_answer.ask()
    spared = one.record.fallback_cost_nano_usd
    assert spared is not None
    assert one.record.usage == one_answer.record.usage
    assert spared < (one_answer.record.fallback_cost_nano_usd or 0), "the fallback would have been asked once"
