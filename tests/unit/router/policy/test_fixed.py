from __future__ import annotations

from router.config.models import Rung
from router.decision import Decision
from router.policy.base import Situation
from router.policy.fixed import Fixed
from tests.support.fakes import call, model

TWO_RUNGS: tuple[Rung, ...] = ((model("a"),), (model("b"),))


def test_fixed_takes_the_first_rung() -> None:
    long = call(messages=[{"role": "user", "content": "x" * 10**6}])
    assert Fixed().decide(Situation(long, TWO_RUNGS)) == Decision(0, "fixed")
    assert Fixed().decide(Situation(call(), TWO_RUNGS[:1])).rung == 0
