from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from router.money import cost
from router.money.cost import BusyShare
from router.money.price import Price, PromptTier, ServiceTier
from router.types import Usage

MINI = Price(input_usd_per_mtok=0.4, cached_input_usd_per_mtok=0.1, output_usd_per_mtok=1.6)
TOKENS = st.integers(0, 10**9)
USD = st.integers(0, 10**6).map(lambda cents: cents / 100)


def test_prices_each_kind_of_token() -> None:
    # 0.4 USD/Mtok is 400 nano-dollars a token, 0.1 is 100, 1.6 is 1600
    assert cost.token_cost(Usage(prompt=10, cached=4, completion=5), MINI) == 6 * 400 + 4 * 100 + 5 * 1600


def test_cached_tokens_cost_the_input_price_where_none_is_set() -> None:
    price = Price(input_usd_per_mtok=0.4, output_usd_per_mtok=1.6)
    assert cost.token_cost(Usage(prompt=10, cached=4), price) == cost.token_cost(Usage(prompt=10), price)


def test_a_cached_price_of_zero_is_a_price() -> None:
    price = Price(input_usd_per_mtok=0.4, cached_input_usd_per_mtok=0.0, output_usd_per_mtok=1.6)
    assert cost.token_cost(Usage(prompt=10, cached=10), price) == 0


def test_an_upstream_that_counts_more_cached_than_prompt_tokens_gets_no_negative_rest() -> None:
    assert cost.token_cost(Usage(prompt=10, cached=99), MINI) == 10 * 100


@pytest.mark.parametrize(("usd_per_mtok", "nano"), [(0.0004, 0), (0.0005, 1), (0.0014, 1), (0.0015, 2), (0.0025, 3)])
def test_rounds_half_up(usd_per_mtok: float, nano: int) -> None:
    price = Price(input_usd_per_mtok=usd_per_mtok, output_usd_per_mtok=0.0)
    assert cost.token_cost(Usage(prompt=1), price) == nano


@given(st.builds(Usage, prompt=TOKENS, cached=TOKENS, completion=TOKENS), USD, USD, USD)
def test_token_costs_are_exact_integers(usage: Usage, fresh: float, cached: float, out: float) -> None:
    price = Price(input_usd_per_mtok=fresh, cached_input_usd_per_mtok=cached, output_usd_per_mtok=out)
    reread = min(usage.cached, usage.prompt)
    cents = ((usage.prompt - reread, fresh), (reread, cached), (usage.completion, out))
    exact = sum(count * Fraction(round(usd * 100), 100) for count, usd in cents) * 1000
    got = cost.token_cost(usage, price)
    assert isinstance(got, int)
    assert -Fraction(1, 2) < got - exact <= Fraction(1, 2)


TIERED = Price(
    input_usd_per_mtok=1.0,
    cached_input_usd_per_mtok=0.1,
    output_usd_per_mtok=10.0,
    tiers=(PromptTier(above_prompt_tokens=1000, input_usd_per_mtok=2.0, output_usd_per_mtok=15.0),),
)


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        (Usage(prompt=1000, cached=400, completion=5), 600 * 1000 + 400 * 100 + 5 * 10_000),
        (Usage(prompt=1001, cached=400, completion=5), 601 * 2000 + 400 * 2000 + 5 * 15_000),
        (Usage(), 0),
    ],
    ids=["up to the tier", "all of it at the tier of its prompt, the cached part counted", "nothing"],
)
def test_the_length_of_the_prompt_says_what_all_of_the_request_is_charged_at(usage: Usage, nano: int) -> None:
    assert cost.token_cost(usage, TIERED) == nano
    assert cost.marginal_cost(usage, TIERED) == nano


def test_one_more_call_to_a_replica_that_is_paid_by_the_hour_costs_nothing_more() -> None:
    assert cost.marginal_cost(Usage(prompt=10, completion=5), Price(replica_hour_usd=4.0)) == 0
    assert cost.marginal_cost(Usage(prompt=10, completion=5), None) is None


def test_time_is_charged_by_the_hour_only() -> None:
    assert cost.time_cost(1800.0, Price(replica_hour_usd=3.0)) == 1_500_000_000
    assert cost.time_cost(1800.0, MINI) is None


def test_tokens_of_an_hourly_price_are_unpriced() -> None:
    assert cost.token_cost(Usage(prompt=1), Price(replica_hour_usd=1.0)) is None


@pytest.mark.parametrize(
    ("usage", "busy_s", "price", "expected"),
    [
        (Usage(prompt=1), 9.0, None, None),  # no price: unknown, not free
        (None, 9.0, MINI, None),  # no usage: unknown, not free
        (Usage(), 9.0, MINI, 0),
        (Usage(prompt=1), 9.0, MINI, 400),
        (None, 1.0, Price(replica_hour_usd=3.6), 1_000_000),  # hours need no usage
        (None, 0.0, Price(replica_hour_usd=3.6), 0),
    ],
)
def test_of_attempt(usage: Usage | None, busy_s: float, price: Price | None, expected: int | None) -> None:
    assert cost.attempt_cost(usage, busy_s, price) == expected


BY_TIER = MINI.model_copy(
    update={
        "service_tiers": {
            "flex": ServiceTier(input_usd_per_mtok=0.2, output_usd_per_mtok=0.8),
            "priority": ServiceTier(input_usd_per_mtok=0.7, cached_input_usd_per_mtok=0.175, output_usd_per_mtok=2.8),
        }
    }
)


@pytest.mark.parametrize(
    ("tier", "nano"),
    [
        ("default", 6 * 400 + 4 * 100 + 5 * 1600),
        ("flex", 10 * 200 + 5 * 800),
        ("priority", 6 * 700 + 4 * 175 + 5 * 2800),
    ],
)
def test_a_service_tier_is_charged_at_its_own_price(tier: str, nano: int) -> None:
    assert cost.token_cost(Usage(prompt=10, cached=4, completion=5), BY_TIER, tier) == nano


def test_a_service_tier_without_a_price_is_unpriced_and_never_free() -> None:
    assert cost.token_cost(Usage(prompt=10), BY_TIER, "scale") is None
    assert cost.attempt_cost(Usage(prompt=10), 1.0, BY_TIER, "scale") is None
    assert cost.attempt_cost(None, 1.0, Price(replica_hour_usd=3.6), "scale") == 1_000_000, "an hour costs an hour"


@pytest.mark.parametrize(
    ("requested", "most"),
    [
        ("default", 10 * 400 + 5 * 1600),
        ("flex", 10 * 400 + 5 * 1600),  # it may be served in the ordinary tier
        ("priority", 10 * 700 + 5 * 2800),
        ("auto", 10 * 700 + 5 * 2800),
        ("", 10 * 700 + 5 * 2800),
        ("scale", None),
    ],
)
def test_the_most_is_that_of_the_dearest_tier_that_a_request_may_get(requested: str, most: int | None) -> None:
    assert cost.max_cost(10, 5, BY_TIER, requested) == most


def test_at_most() -> None:
    assert cost.max_cost(10, 5, MINI) == 10 * 400 + 5 * 1600
    assert cost.max_cost(10, 5, Price(replica_hour_usd=4.0)) == 0
    assert cost.max_cost(10, None, Price(replica_hour_usd=4.0)) == 0
    assert cost.max_cost(10, 5, None) is None
    assert cost.max_cost(10, None, MINI) is None


PER_MTOK = st.integers(0, 1000).map(float)
TIER_STARTS = st.lists(st.integers(1, 300), unique=True, max_size=3).map(sorted)


@given(
    TIER_STARTS,
    st.lists(st.tuples(PER_MTOK, PER_MTOK, PER_MTOK), min_size=4, max_size=4),
    st.integers(0, 300),
    st.integers(0, 300),
    st.data(),
)
def test_no_call_within_the_bounds_costs_more_than_the_most(
    starts: list[int], usd: list[tuple[float, float, float]], prompt: int, completion: int, data: st.DataObject
) -> None:
    """Also where a longer prompt is cheaper, or cached input dearer."""
    tiers = [
        PromptTier(
            above_prompt_tokens=start,
            input_usd_per_mtok=fresh,
            cached_input_usd_per_mtok=cached,
            output_usd_per_mtok=out,
        )
        for start, (fresh, cached, out) in zip(starts, usd[1:], strict=False)
    ]
    fresh, cached, out = usd[0]
    price = Price(
        input_usd_per_mtok=fresh, cached_input_usd_per_mtok=cached, output_usd_per_mtok=out, tiers=tuple(tiers)
    )
    most = cost.max_cost(prompt, completion, price)
    some = data.draw(st.builds(Usage, *(st.integers(0, most) for most in (prompt, prompt, completion))))
    assert (cost.token_cost(some, price) or 0) <= (most or 0)
    costs = [
        cost.token_cost(Usage(length, cached, completion), price)
        for length in range(prompt + 1)
        for cached in (0, length)
    ]
    assert most == max(costs), "and one of them costs just that"


class Sharing(RuleBasedStateMachine):
    """Requests come and go in any order; time is a fraction, so that sums can be compared exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Fraction(0)
        self.share = BusyShare(virtual_s=Fraction(0), since=Fraction(0), busy_s=Fraction(0))  # type: ignore[arg-type]
        self.marks: list[tuple[Fraction, float]] = []
        self.handed_out = Fraction(0)
        self.busy = Fraction(0)

    @rule(seconds=st.fractions(0, 1000, max_denominator=1000))
    def wait(self, seconds: Fraction) -> None:
        if self.marks:
            self.busy += seconds
        self.now += seconds

    @rule()
    def enter(self) -> None:
        self.marks.append((self.now, self.share.enter(self.now)))  # type: ignore[arg-type]

    @precondition(lambda self: self.marks)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        entered, mark = self.marks.pop(data.draw(st.integers(0, len(self.marks) - 1)))
        part = self.share.leave(self.now, mark)  # type: ignore[arg-type]
        assert 0 <= part <= self.now - entered
        self.handed_out += part  # type: ignore[assignment]

    @invariant()
    def counts(self) -> None:
        assert self.share.in_flight == len(self.marks)
        assert self.share.busy_until(self.now) == self.busy  # type: ignore[arg-type]

    def teardown(self) -> None:
        while self.marks:
            self.handed_out += self.share.leave(self.now, self.marks.pop()[1])  # type: ignore[arg-type,assignment]
        assert self.handed_out == self.busy, "what the replica worked is what its requests are charged"
        assert self.share.in_flight == 0


TestSharing = Sharing.TestCase


@given(st.lists(st.floats(0, 100), min_size=1, max_size=20), st.floats(0, 10**7))
def test_requests_at_the_same_time_together_cost_what_the_replica_cost(lengths: list[float], start: float) -> None:
    price = Price(replica_hour_usd=3.6)  # a million nano-dollars a second
    share = BusyShare()
    marks = [share.enter(start) for _ in lengths]
    parts = [share.leave(start + length, mark) for length, mark in zip(sorted(lengths), marks, strict=True)]
    total = sum(cost.attempt_cost(None, part, price) or 0 for part in parts)
    busy = (start + max(lengths)) - start
    # each is rounded to a whole nano-dollar, and a clock of ten million seconds ends at 2e-9 s
    assert total == pytest.approx(busy * 1_000_000, abs=0.6 * len(lengths) + 0.1)


def test_an_idle_replica_costs_nobody() -> None:
    share = BusyShare()
    assert share.leave(1.0, share.enter(0.0)) == 1.0
    assert share.leave(101.0, share.enter(100.0)) == 1.0
