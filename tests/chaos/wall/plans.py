"""Models and routes that several scenarios need, and replicas of which one fails."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos.wall.scenario import Sites
from tests.support.behaviours import Behaviour, Call, answer
from tests.support.lanes import BRIEF, LONG, Plan

IDLE = LONG | {"idle_s": 1}
"""for a stream that falls silent; another one must come in time on a busy machine, too"""
SOON = LONG | {"first_byte_s": 1, "total_s": 2}
"""for a replica that is silent, beside one that must answer in time on a busy machine, too"""


def pair(plan: Plan) -> None:
    """Two replicas of a small model before a large one."""
    plan.slm("pair", replicas=2)
    plan.llm()
    plan.route("auto", "pair", "llm")


def brief(plan: Plan) -> None:
    """A small model that must answer soon before a large one, and alone."""
    plan.slm(timeouts=BRIEF)
    plan.llm()
    plan.route("auto", "slm", "llm")


def brief_pair(plan: Plan) -> None:
    """Two replicas that must answer soon, before a large model."""
    plan.slm("pair", replicas=2, timeouts=SOON)
    plan.llm()
    plan.route("auto", "pair", "llm")


def one_of(failure: Behaviour, then: Behaviour | None = None) -> Callable[[], Sites]:
    """Whichever of two replicas is asked first fails, now and later; the other one answers."""

    def sites() -> Sites:
        failing: list[str] = []

        async def fail_first(call: Call) -> None:
            if not failing:
                failing.append(call.site)
            await (failure if call.site in failing else then or answer())(call)

        return {"pair:a": fail_first, "pair:b": fail_first}

    return sites
