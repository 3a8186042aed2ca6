"""The worked example of docs/money.md is what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.config.price_list import bundled
from router.money.price import Price
from router.record import Attempt, RequestRecord
from router.types import NANO, Usage
from tests.support.fakes import large

PAGE = " ".join((Path(__file__).parents[4] / "docs/money.md").read_text().split())
GPU = Price(replica_hour_usd=0.60)
MINI = bundled()["gpt-4.1-mini"]
FALLBACK = large(price=MINI)


def weak(**fields: str) -> Attempt:
    return Attempt("slm", "slm/0", price=GPU, answered=True, usage=Usage(1200, 200, 150), busy_s=0.4, **fields)  # type: ignore[arg-type]


ANSWERED = RequestRecord("a", 0.0, attempts=[weak()], model="slm", fallback=FALLBACK)
STRONG = Attempt("llm", "llm/0", price=MINI, answered=True, usage=Usage(1180, 0, 140))
ESCALATED = RequestRecord("b", 0.0, attempts=[weak(failure="confidence"), STRONG], model="llm", fallback=FALLBACK)


@pytest.mark.parametrize("record", [ANSWERED, ESCALATED], ids=["answered", "escalated"])
def test_each_call_costs_and_saves_what_the_page_says(record: RequestRecord) -> None:
    for nano in record.bill():
        assert nano is not None
        assert f" {f'{nano / NANO:.9f}'.rstrip('0')} USD" in PAGE


def test_the_day_is_what_the_page_says() -> None:
    few, many = ESCALATED.bill(), ANSWERED.bill()
    assert (many.saved, few.saved, many.fallback, few.fallback) == (593_333, -66_667, 660_000, 696_000)
    fallback_alone, of_fallback, paid = (10_000 * 660 + 2_500 * 696) / 1e6, 2_500 * 696 / 1e6, 24 * 0.60
    assert f"{fallback_alone:.2f} (the fallback alone) - {of_fallback:.2f} (the fallback's part) - {paid:.2f}" in PAGE
    assert f"**{fallback_alone - of_fallback - paid:.2f} USD**" in PAGE
    assert f"saved {(10_000 * 593_333 - 2_500 * 66_667) / NANO:.2f} USD by the counters" in PAGE
    busy_s, tokens = 12_500 * 0.4, 12_500 * 1_350
    amortised = 0.60 * 1e6 / (3600 * tokens / busy_s * busy_s / 86_400)
    assert amortised == pytest.approx(paid / tokens * 1e6)
    assert f"= {amortised:.2f} USD a million tokens" in PAGE
    calls = paid / (0.8 * 660e-6)
    assert f"breaks even at {calls:,.0f} calls a day, utilisation {calls * 0.4 / 86_400:.1%}" in PAGE
