"""Later turns of an escalated conversation: where each policy starts them."""

from __future__ import annotations

from typing import Any

import pytest

from router.config.models import Price, Rung
from router.decision import Decision, Escalated
from router.learning.evidence import Evidence
from router.policy import POLICIES
from router.policy.base import Policy, Situation
from router.policy.cascade import Cascade
from router.policy.classifier import Classifier
from router.policy.fixed import Fixed
from router.policy.heuristic import Heuristic
from router.policy.stay import MAX_DOUBLINGS, REASON, TURNS, stays
from tests.support.fakes import call, config, large, model
from tests.support.learned import LADDER, LLM, SLM, knows

THREE: tuple[Rung, ...] = ((model("a"),), (model("b"), model("b2")), (large("c"),))


def decide(policy: Policy, name: str, rungs: tuple[Rung, ...] = THREE, *, times: int = 1, turns: int = 0) -> Decision:
    return policy.decide(Situation(call(), rungs, escalated=Escalated(name, times, turns)))


@pytest.mark.parametrize("policy", [Fixed(), Heuristic(0.5)])
def test_a_conversation_stays_where_it_was_escalated_to(policy: Policy) -> None:
    decision = decide(policy, "b2")
    assert (decision.rung, decision.reason, decision.asking_order) == (1, REASON, ["b2", "b", "c"])
    assert decide(policy, "c").asking_order == ["c"]


@pytest.mark.parametrize("policy", [Fixed(), Heuristic(0.5)])
def test_elsewhere_it_begins_as_usual(policy: Policy) -> None:
    usual = policy.decide(Situation(call(), THREE))
    assert usual.rung == 0
    assert decide(policy, "c", THREE[:2]) == usual, "the client does not allow it"
    assert decide(policy, "a") == usual, "no rung is lower"


def test_a_hard_call_starts_above_the_rung_where_its_conversation_stays() -> None:
    hard = call(messages=[{"role": "user", "content": "x" * 10**6}])
    decision = Heuristic(0.5).decide(Situation(hard, THREE, escalated=Escalated("b", 1, 0)))
    assert (decision.rung, decision.reason) == (2, "heuristic: long prompt")
    easy = decide(Heuristic(0.5), "b")
    assert easy.score == 0.0, "the score is the call's own"


def test_the_model_below_is_tried_again_ever_more_rarely() -> None:
    for times in range(1, MAX_DOUBLINGS + 3):
        limit = TURNS * 2 ** min(times - 1, MAX_DOUBLINGS)
        assert stays(Escalated("c", times, limit - 1))
        assert not stays(Escalated("c", times, limit))
    assert decide(Fixed(), "c", turns=TURNS).rung == 0
    assert decide(Fixed(), "c", times=2, turns=TURNS).rung == 2
    assert decide(Cascade(LLM), "llm", LADDER, turns=TURNS).asking_order == ["slm", "llm"]


def test_without_evidence_a_cascade_stays() -> None:
    decision = decide(Cascade(LLM), "llm", LADDER)
    assert (decision.rung, decision.reason, decision.asking_order) == (1, REASON, ["llm"])
    assert decision.candidates["slm"].value == 0.0
    assert decide(Cascade(LLM), "llm", LADDER[:1]).asking_order == ["slm"], "the client wants no fallback"


@pytest.mark.parametrize(
    ("gains", "times", "asked"),
    [
        ([0.0] * 9 + [0.9], 1, True),  # .9 of its answers do; after one that did not, .6 are expected to
        ([0.0] * 7 + [0.9] * 3, 1, False),  # .7, so .47
        ([0.0] * 9 + [0.9], 2, False),  # .9, and two that did not: .45
    ],
)
def test_a_cascade_weighs_the_conversation_with_its_evidence(gains: list[float], times: int, asked: bool) -> None:
    policy = Cascade(LLM, {"slm": knows(*gains)})
    decision = decide(policy, "llm", LADDER, times=times)
    assert decision.asking_order == (["slm", "llm"] if asked else ["llm"])
    assert decision.reason == ("cascade" if asked else REASON)


def test_the_price_of_asking_again_counts() -> None:
    def asked(usd: float, **known: Any) -> bool:
        small = model("slm", price=Price(input_usd_per_mtok=usd, output_usd_per_mtok=4 * usd))
        rungs: tuple[Rung, ...] = ((small,), (LLM,))
        policy = Cascade(LLM, {"slm": knows(0.0)})
        escalated = Escalated("llm", 1, 0) if known else None
        return policy.decide(Situation(call(), rungs, escalated=escalated)).rung == 0

    assert asked(0.32), "at four fifths of the price, a model that is always right is asked"
    assert not asked(0.32, escalated=True), "but not if it is right in two of three turns"
    assert asked(0.2, escalated=True)


def test_a_model_between_is_weighed_as_ever() -> None:
    a, b = model("a"), model("b")
    rungs: tuple[Rung, ...] = ((a,), (b,), (LLM,))
    known = {"a": knows(0.0, 0.9), "b": knows(0.0, 0.9)}
    assert decide(Cascade(LLM, known), "b", rungs).asking_order == ["b", "llm"]
    assert decide(Cascade(LLM, known), "llm", rungs).asking_order == ["llm"]


def test_a_model_that_is_skipped_anyway_is_not_given_up() -> None:
    policy = Cascade(LLM, {"slm": knows(0.9)})
    assert decide(policy, "llm", LADDER).reason == "cascade: skipped"


def test_a_classifier_gives_up_after_the_second_time() -> None:
    policy = Classifier(LLM, {"slm": Evidence()})
    assert decide(policy, "llm", LADDER, times=1).asking_order == ["slm", "llm"], "its answers to such prompts do"
    decision = decide(policy, "llm", LADDER, times=2)
    assert (decision.asking_order, decision.reason) == (["llm"], REASON)


def test_every_policy_documents_the_reason() -> None:
    route = config(SLM, LLM).routes["auto"]
    for policy in POLICIES.values():
        built = policy.build(route)
        if built is not None:
            decision = decide(built, "llm", LADDER, times=9)
            assert decision.reason == REASON
            assert REASON in policy.reasons
