from __future__ import annotations

from router.learning.evidence import Evidence
from router.policy.base import Situation
from router.policy.classifier import Classifier
from tests.support.fakes import call
from tests.support.learned import LADDER, LLM


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
