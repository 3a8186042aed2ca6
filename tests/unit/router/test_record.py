from __future__ import annotations

from typing import Any

import pytest

from router.decision import Decision
from router.money.price import Price, PromptTier
from router.record import Attempt, Escalation, RequestRecord
from router.types import Usage
from tests.support.fakes import HOURS, TOKENS, large, model

NANO_OF_TOKENS = 10 * 400 + 5 * 1600
SPENT = Usage(prompt=10, completion=5)
DEAR = Price(
    input_usd_per_mtok=10.0,
    cached_input_usd_per_mtok=1.0,
    output_usd_per_mtok=40.0,
    tiers=(
        PromptTier(
            above_prompt_tokens=1000, input_usd_per_mtok=20.0, cached_input_usd_per_mtok=2.0, output_usd_per_mtok=80.0
        ),
    ),
)
DEAR_NANO = 10 * 10_000 + 5 * 40_000


def attempt(**fields: Any) -> Attempt:
    return Attempt(**({"model": "slm", "replica": "slm/0", "price": HOURS, "answered": True, "usage": SPENT} | fields))


def record(*attempts: Attempt, **fields: Any) -> RequestRecord:
    return RequestRecord("req_1", 0.0, attempts=list(attempts), **fields)


def test_an_attempt_by_tokens() -> None:
    assert attempt(price=TOKENS).cost_nano_usd == NANO_OF_TOKENS


def test_an_attempt_by_hours_needs_no_usage() -> None:
    assert attempt(usage=None, busy_s=2.0).cost_nano_usd == 2_000_000


def test_an_answer_whose_usage_is_unknown_has_no_price_rather_than_none_to_pay() -> None:
    assert attempt(price=TOKENS, usage=None).cost_nano_usd is None
    assert attempt(price=None).cost_nano_usd is None


def test_what_never_began_costs_no_tokens() -> None:
    assert attempt(price=TOKENS, usage=None, answered=False).cost_nano_usd == 0


def test_the_cost_is_the_sum_of_all_attempts() -> None:
    one = record(attempt(busy_s=1.0), attempt(busy_s=0.5, usage=None), attempt(model="llm", price=TOKENS), model="llm")
    assert one.cost_nano_usd == 1_500_000 + NANO_OF_TOKENS
    assert one.usage == SPENT


def test_one_unknown_attempt_makes_the_whole_unknown() -> None:
    one = record(attempt(price=None), attempt(model="llm", price=TOKENS), model="llm", fallback=large(price=TOKENS))
    assert one.cost_nano_usd is None
    assert one.bill().saved is None
    assert one.fallback_cost_nano_usd == NANO_OF_TOKENS


def test_saved_is_what_the_fallback_would_have_cost_less_what_was_spent() -> None:
    one = record(attempt(busy_s=0.001), model="slm", fallback=large(price=TOKENS))
    assert one.fallback_cost_nano_usd == NANO_OF_TOKENS
    assert one.bill().saved == NANO_OF_TOKENS - 1000


def test_a_vain_attempt_is_a_loss() -> None:
    one = record(attempt(busy_s=1.0), attempt(model="llm", price=TOKENS), model="llm", fallback=large(price=TOKENS))
    assert one.bill().saved == -1_000_000


def test_an_answer_that_was_thrown_away_is_paid_for_all_the_same() -> None:
    weak, strong = attempt(price=TOKENS, failure="confidence"), attempt(model="llm", price=DEAR)
    one = record(weak, strong, model="llm", fallback=large(price=DEAR))
    assert one.bill() == (NANO_OF_TOKENS + DEAR_NANO, DEAR_NANO, -NANO_OF_TOKENS)


def test_an_answer_that_had_to_do_after_all_is_compared_by_its_own_tokens() -> None:
    weak, strong = attempt(busy_s=0.0), attempt(model="llm", failure="timeout", answered=False, price=DEAR)
    strong.usage = None
    one = record(weak, strong, model="slm", fallback=large(price=DEAR))
    assert one.bill() == (0, DEAR_NANO, DEAR_NANO)


def test_the_fallbacks_tiers_and_its_price_of_cached_input_are_what_is_saved() -> None:
    usage = Usage(prompt=2000, cached=500, completion=10)
    one = record(attempt(busy_s=0.0, usage=usage), model="slm", fallback=large(price=DEAR))
    assert one.bill().saved == 1500 * 20_000 + 500 * 2_000 + 10 * 80_000


def test_a_vote_is_paid_whole_and_saves_what_one_answer_would_have_cost() -> None:
    voted = attempt(price=TOKENS, usage=Usage(prompt=10, completion=25), samples=5)
    one = record(voted, model="slm", fallback=large(price=DEAR))
    assert one.bill().cost == 10 * 400 + 25 * 1600
    assert one.bill().fallback == DEAR_NANO


def test_what_a_correction_adds_to_the_prompt_is_no_saving() -> None:
    first = attempt(failure="structured")
    corrected = attempt(usage=Usage(prompt=200, cached=20, completion=5))
    one = record(first, corrected, model="slm", fallback=large(price=DEAR))
    assert one.fallback_cost_nano_usd == 10 * 1_000 + 5 * 40_000


def test_the_fallback_itself_saves_nothing() -> None:
    assert record(attempt(model="llm", price=TOKENS), model="llm", fallback=large(price=TOKENS)).bill().saved == 0
    assert record(attempt(busy_s=3.0), model="slm", fallback=model(price=HOURS)).bill().saved == 0, "by the hour, too"


def test_two_models_of_one_hourly_price_are_not_one_model() -> None:
    """What the other would have taken for it is unknown, so there is neither a saving nor none."""
    one = record(attempt(busy_s=3.0), model="slm", fallback=large("llm", price=HOURS))
    assert one.cost_nano_usd == 3_000_000
    assert one.fallback_cost_nano_usd is None
    assert one.bill().saved is None
    pinned = record(attempt(busy_s=3.0), model="slm", fallback=model("slm", price=HOURS))
    assert pinned.bill().saved == 0


@pytest.mark.parametrize(
    ("fields", "attempts"),
    [
        ({"model": "", "fallback": large(price=TOKENS)}, [attempt()]),  # nobody answered
        ({"model": "slm", "fallback": None}, [attempt()]),
        ({"model": "slm", "fallback": large(price=TOKENS)}, [attempt(usage=None)]),
        ({"model": "slm", "fallback": large(price=Price(replica_hour_usd=9.0))}, [attempt()]),  # its pace is unknown
        ({"model": "slm", "fallback": large(price=TOKENS)}, []),
    ],
)
def test_an_unknown_fallback_cost(fields: dict[str, Any], attempts: list[Attempt]) -> None:
    one = record(*attempts, **fields)
    assert one.fallback_cost_nano_usd is None
    assert one.bill().saved is None


def test_no_attempt_costs_nothing() -> None:
    assert record().cost_nano_usd == 0
    assert record().usage is None


@pytest.mark.parametrize(
    ("decision", "reasons", "expected"),
    [
        (None, [], ""),
        (Decision(0, "fixed"), [], "fixed"),
        (Decision(1, "heuristic: long prompt"), ["policy"], "heuristic: long prompt"),
        (Decision(0, "fixed"), ["timeout"], "timeout"),
        (Decision(0, "fixed"), ["context", "overloaded"], "overloaded"),
        (Decision(1, "heuristic: many tools"), ["policy", "structured"], "structured"),
    ],
)
def test_reason(decision: Decision | None, reasons: list[Any], expected: str) -> None:
    steps = [Escalation("a", "b", reason) for reason in reasons]
    assert record(decision=decision, escalations=steps).reason == expected
