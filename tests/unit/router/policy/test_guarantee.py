from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from router.config.models import Price
from router.learning.evidence import Comparison
from router.policy.base import Situation
from router.policy.cascade import Cascade
from router.policy.guarantee import Guarantee, expected_usd, least_scores
from tests.support.fakes import call, large
from tests.support.learned import LADDER, LLM, SLM, accepted, knows

COMPARISONS = st.lists(
    st.builds(Comparison, st.just("t"), st.floats(-1, 1), st.integers(0, 10_000), st.booleans()), max_size=200
)


@given(COMPARISONS, st.floats(0.01, 0.5), st.floats(0.5, 0.99))
def test_a_guarantee_allows_no_more_worse_answers_than_its_bound(
    comparisons: list[Comparison], loss: float, confidence: float
) -> None:
    wanted = Guarantee(max_quality_loss=loss, confidence=confidence)
    evidence = {"slm": knows(0.0, tokens=50)}
    [least] = least_scores(wanted, LLM, evidence, {"slm": comparisons}).values()
    if least is None:
        return
    usd = [expected_usd(LLM, evidence, "t", one.prompt_tokens) or 1.0 for one in comparisons]
    worse = sum(one.worse and -one.gain / dollars >= least for one, dollars in zip(comparisons, usd, strict=True))
    assert worse <= loss * len(comparisons)


@given(st.floats(-1, 1), st.floats(1e-7, 1e3), st.integers(0, 40))
def test_of_equal_answers_none_is_accepted_where_they_are_too_often_worse(gain: float, usd: float, more: int) -> None:
    llm = large("llm", price=Price(input_usd_per_mtok=usd, output_usd_per_mtok=usd))
    evidence = {"slm": knows(gain, tokens=50)}
    alike = [Comparison("t", gain, 7, worse=True)] * 10
    better = [Comparison("t", min(gain, 0.0) - 0.5, 7, worse=False)] * (60 + more)
    scores = least_scores(Guarantee(max_quality_loss=0.1), llm, evidence, {"slm": [*alike, *better]})
    policy = Cascade(llm, evidence, None, scores)
    candidate = policy.decide(Situation(call(), ((SLM,), (llm,)))).candidates["slm"]
    assert candidate.is_guaranteed
    assert not gain <= candidate.threshold
    assert min(gain, 0.0) - 0.5 <= candidate.threshold


def test_under_a_guarantee_only_what_is_known_is_accepted() -> None:
    policy = Cascade(LLM, {"slm": knows(0.0, tokens=9)}, None, {"slm": -inf})
    assert accepted(policy, -2.0)
    assert not accepted(policy, None)
    decision = policy.decide(Situation(call(), LADDER))
    assert not policy.acceptance(decision, SLM)(None, 5.0, voted=True).accepted
    assert Cascade(LLM, {}, None, {}).decide(Situation(call(), LADDER)).asking_order == ["llm"], (
        "nothing is known of it at all"
    )


def test_a_guarantee_is_divided_among_the_small_models() -> None:
    few = [Comparison("t", 0.0, 10, worse=False)] * 60
    wanted = Guarantee(max_quality_loss=0.05, confidence=0.9)
    assert least_scores(wanted, LLM, {}, {"a": few}) == {"a": -inf}
    assert least_scores(wanted, LLM, {}, {"a": few, "b": few}) == {"a": None, "b": None}


def test_where_the_guarantee_cannot_be_given_the_fallback_answers() -> None:
    policy = Cascade(LLM, {"slm": knows(0.0, 0.0)}, None, {"slm": None})
    assert policy.decide(Situation(call(), LADDER)).asking_order == ["llm"]


def test_a_guarantee_without_limit_accepts_every_answer() -> None:
    policy = Cascade(LLM, {"slm": knows(0.0, 1.0)}, None, {"slm": -inf})
    assert policy.decide(Situation(call(), LADDER)).asking_order == ["slm", "llm"]
    assert accepted(policy, -2.0)
