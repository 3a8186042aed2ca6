from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config.models import Price, Rung
from router.learning.calibration import Calibration, Isotonic
from router.learning.evidence import ALL_TASKS, Comparison, Evidence, TaskAverages
from router.policy.base import Situation
from router.policy.cascade import Cascade
from router.policy.classifier import Classifier
from router.policy.guarantee import Guarantee, expected_usd, least_scores
from tests.support.fakes import TOKENS, call, large, model

SLM, LLM = model("slm"), large("llm")
LADDER: tuple[Rung, ...] = ((SLM,), (LLM,))
CURVE = Calibration(Isotonic((-2.0, 2.0), (0.0, 1.0)))
"""P(as good) is 0 at a score of -2, one half at 0, and 1 at 2"""


def knows(*gains: float, tokens: float | None = None) -> Evidence:
    return Evidence(calibration=CURVE, tasks={ALL_TASKS: TaskAverages(0.0, sorted(gains), tokens)})


def accepted(policy: Cascade, score: float | None, **routing: Any) -> bool:
    decision = policy.decide(Situation(call(routing=routing), LADDER))
    return policy.acceptance(decision, SLM)(None, score, beginning=False).accepted


def test_without_evidence_the_small_model_is_asked_and_its_confidence_taken_at_its_word() -> None:
    policy = Cascade(LLM, min_confidence=0.8)
    decision = policy.decide(Situation(call(), LADDER))
    assert (decision.rung, decision.asking_order, decision.reason, decision.score) == (
        0,
        ["slm", "llm"],
        "cascade",
        None,
    )
    assert decision.candidates["slm"].threshold == pytest.approx(0.2)
    assert accepted(policy, 1.5), "P is .82"
    assert not accepted(policy, 1.2), "P is .77"
    assert not accepted(policy, None), "it says nothing of itself"


def test_a_calibrated_confidence_decides() -> None:
    policy = Cascade(LLM, {"slm": knows(0.1, 0.5)}, min_confidence=0.75)
    assert accepted(policy, 1.1)
    assert not accepted(policy, 0.9)


def test_the_client_may_ask_for_more_or_less_than_the_route() -> None:
    policy = Cascade(LLM, {"slm": knows(0.1, 0.5)}, min_confidence=0.75)
    assert accepted(policy, 0.0, min_confidence=0.45)
    assert not accepted(policy, 1.1, min_confidence=0.9)


def test_an_answer_without_logprobs_is_as_good_as_such_answers_are() -> None:
    assert accepted(Cascade(LLM, {"slm": knows(0.1, 0.2)}), None)
    assert not accepted(Cascade(LLM, {"slm": knows(0.1, 0.5)}), None)


@pytest.mark.parametrize(
    ("slm_usd", "gains", "asked"),
    [
        (0.01, [0.0, 0.9], True),  # half of the answers will do, at a fortieth of the price
        (0.01, [0.9, 0.9], False),  # none will do
        (0.39, [0.0, 0.9], False),  # half will do, at nearly the same price
        (0.39, [0.0, 0.0], True),  # all will
    ],
)
def test_a_small_model_is_asked_where_looking_at_its_answer_is_worth_its_price(
    slm_usd: float, gains: Sequence[float], asked: bool
) -> None:
    small = model("slm", price=Price(input_usd_per_mtok=slm_usd, output_usd_per_mtok=4 * slm_usd))
    decision = Cascade(LLM, {"slm": knows(*gains)}).decide(Situation(call(), ((small,), (LLM,))))
    assert decision.asking_order == (["slm", "llm"] if asked else ["llm"])
    assert decision.rung == (0 if asked else 1)
    assert decision.reason == ("cascade" if asked else "cascade: skipped")


def test_an_hour_that_is_paid_makes_looking_free() -> None:
    decision = Cascade(LLM, {"slm": knows(*[0.9] * 99, 0.0)}).decide(Situation(call(), LADDER))
    assert decision.candidates["slm"].price == 0
    assert decision.asking_order == ["slm", "llm"]


def test_of_experts_side_by_side_the_one_is_asked_that_saves_most() -> None:
    coder, extractor, general = model("coder"), model("extractor"), model("general")
    policy = Cascade(LLM, {"coder": knows(0.1, 0.6), "extractor": knows(0.0, 0.1), "general": knows(0.9)})
    decision = policy.decide(Situation(call(), ((coder, extractor, general), (LLM,))))
    assert decision.asking_order == ["extractor", "coder", "llm"], "what is never good enough is left out"


def test_of_several_rungs_the_one_is_the_start_that_saves_most() -> None:
    tiny, small = model("tiny"), model("small")
    policy = Cascade(LLM, {"tiny": knows(0.19, 0.9), "small": knows(0.0, 0.0)})
    assert policy.decide(Situation(call(), ((tiny,), (small,), (LLM,)))).asking_order == ["small", "llm"]


def test_where_the_fallback_is_not_wanted_whoever_is_left_is_asked() -> None:
    assert Cascade(LLM, {"slm": knows(0.9)}).decide(Situation(call(), ((SLM,),))).asking_order == ["slm"]


def test_the_decision_names_the_task_and_what_was_seen() -> None:
    decision = Cascade(LLM, {"slm": knows(0.0, 0.4, tokens=100)}).decide(
        Situation(call(routing={"task": "triage"}), LADDER)
    )
    candidate = decision.candidates["slm"]
    assert candidate.prior.task == "auto/task:triage"
    assert list(candidate.prior.likely) == [0.0, 0.4]
    assert decision.score == pytest.approx(0.2)
    assert decision.fallback_usd == pytest.approx((7 * 0.4 + 100 * 1.6) / 1e6)


def test_a_classifier_goes_by_the_prompt_alone() -> None:
    easy = Evidence()
    assert Classifier(LLM, {"slm": easy}).decide(Situation(call(), LADDER)).asking_order == ["slm", "llm"]
    sure_to_fail = Evidence(prompts=type(easy.prompts)(mean=0.9))
    decision = Classifier(LLM, {"slm": sure_to_fail}).decide(Situation(call(), LADDER))
    assert decision.reason == "classifier: skipped"
    assert decision.candidates["slm"].prior.likely[0] > 0.8
    assert (decision.rung, decision.asking_order, decision.score) == (1, ["llm"], None)
    assert (
        Classifier(LLM, {"slm": sure_to_fail}).decide(Situation(call(routing={"min_confidence": 0.05}), LADDER)).rung
        == 0
    )


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


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=20), st.none() | st.floats(0, 1), st.none() | st.floats(-1e9, 1e9)
)
def test_every_decision_names_somebody_to_ask(gains: list[float], least: float | None, score: float | None) -> None:
    policy = Cascade(LLM, {"slm": knows(*gains)}, least, {"slm": score})
    decision = policy.decide(Situation(call(), LADDER))
    assert decision.asking_order[-1] == "llm"
    assert LADDER[decision.rung][0].name == decision.asking_order[0]


def test_what_nobody_has_priced_is_decided_without_prices() -> None:
    free = model("slm", price=None)
    unpriced = large("llm", price=None)
    decision = Cascade(unpriced, {"slm": knows(0.0, 0.5)}).decide(Situation(call(), ((free,), (unpriced,))))
    assert (decision.fallback_usd, decision.candidates["slm"].price, decision.asking_order[0]) == (None, 0.0, "slm")
    dear = model("slm", price=TOKENS)
    by_hours = large("llm", engine="vllm", price=Price(replica_hour_usd=4.0))
    decision = Cascade(by_hours, {"slm": knows(0.0)}).decide(Situation(call(), ((dear,), (by_hours,))))
    assert decision.asking_order == ["llm"], "its hour is paid: whoever is paid by tokens only costs more"


def test_time_that_has_a_price_speaks_against_a_slow_model() -> None:
    dear = model("slm", price=Price(input_usd_per_mtok=0.1, output_usd_per_mtok=0.1))
    evidence = {"slm": knows(0.0, 0.9)}
    rungs = ((dear,), (LLM,))
    slow, quick = {"slm": 10.0, "llm": 1.0}, {"slm": 0.1, "llm": 1.0}
    patient, hasty = Cascade(LLM, evidence), Cascade(LLM, evidence, waiting_usd_per_s=0.01)
    assert [patient.decide(Situation(call(), rungs, waits)).asking_order[0] for waits in (slow, quick)] == [
        "slm",
        "slm",
    ]
    assert [hasty.decide(Situation(call(), rungs, waits)).asking_order[0] for waits in (slow, quick)] == ["llm", "slm"]
    assert hasty.decide(Situation(call(), rungs, {"slm": 10.0})).asking_order[0] == "slm", (
        "the fallback's time is not known yet"
    )


def test_answers_that_vote_are_all_paid() -> None:
    dear = model("slm", price=Price(input_usd_per_mtok=0.0, output_usd_per_mtok=0.4))
    rungs = ((dear,), (LLM,))
    once, voting = (Cascade(LLM, {"slm": knows(0.0, 0.9)}, samples=k).decide(Situation(call(), rungs)) for k in (0, 5))
    assert voting.candidates["slm"].price == pytest.approx(5 * once.candidates["slm"].price)
    assert (once.asking_order[0], voting.asking_order[0]) == ("slm", "llm")


@pytest.mark.parametrize("fields", [{"stream": True}, {"n": 2}])
def test_where_nobody_votes_one_answer_is_expected_to_be_paid(fields: dict[str, Any]) -> None:
    rungs = ((model("slm", price=Price(input_usd_per_mtok=0.0, output_usd_per_mtok=0.4)),), (LLM,))
    once, voting = (
        Cascade(LLM, {"slm": knows(0.0, 0.9)}, samples=k)
        .decide(Situation(call(**fields), rungs))
        .candidates["slm"]
        .price
        for k in (0, 5)
    )
    assert voting == once


def test_a_route_of_the_fallback_alone_skips_nobody() -> None:
    assert Cascade(LLM).decide(Situation(call(), ((LLM,),))).reason == "cascade"
