"""One small model below one large one, and what was learned of the small one."""

from __future__ import annotations

from typing import Any

from router.config.models import Rung
from router.learning.calibration import Calibration, Isotonic
from router.learning.evidence import ALL_TASKS, Evidence, TaskAverages
from router.policy.base import Situation
from router.policy.cascade import Cascade
from tests.support.fakes import call, large, model

SLM, LLM = model("slm"), large("llm")
LADDER: tuple[Rung, ...] = ((SLM,), (LLM,))
CURVE = Calibration(Isotonic((-2.0, 2.0), (0.0, 1.0)))
"""P(as good) is 0 at a score of -2, one half at 0, and 1 at 2"""


def knows(*gains: float, tokens: float | None = None) -> Evidence:
    return Evidence(calibration=CURVE, tasks={ALL_TASKS: TaskAverages(0.0, sorted(gains), tokens)})


def accepted(policy: Cascade, score: float | None, **routing: Any) -> bool:
    decision = policy.decide(Situation(call(routing=routing), LADDER))
    return policy.acceptance(decision, SLM)(None, score, beginning=False).accepted
