"""Replicas that fail for a while: they rest, nobody waits for them, and they come back."""

from __future__ import annotations

import json
import time

from router.replicas.breaker import FAILURES_TO_OPEN, FIRST_COOLDOWN_S
from tests.chaos.wall.plans import pair
from tests.chaos.wall.scenario import Scenario, Stage, Verdict, says
from tests.support.behaviours import CUT, answer, error, raw
from tests.support.waiting import wait_until

ROUNDS = 12


def _rests_and_returns(stage: Stage) -> Verdict:
    """After some failures the model is passed over; after its rest one request tries it, and all come back."""
    slm = stage.site("slm")
    slm.always(error(500))
    verdicts = [says(by="llm")(stage.ask()) for _ in range(ROUNDS)]
    tried = len(slm.calls)
    assert tried < ROUNDS, "it is passed over after some failures"
    slm.always(answer())
    wait_until(lambda: stage.ask().model == stage.lane.name("slm"), "it is asked again")
    assert slm.calls[tried].arrived - slm.calls[tried - 1].arrived >= 0.9 * FIRST_COOLDOWN_S, "it rested"
    verdicts += [says(by="slm")(stage.ask()) for _ in range(3)]
    return min(verdicts)


def _one_dies(stage: Stage) -> Verdict:
    """One of two replicas is dead: no request sees it, and it is soon not asked any more."""
    dead = stage.site("pair:a")
    dead.always(raw(CUT))
    began = time.monotonic()
    verdicts = [says(by="pair")(stage.ask()) for _ in range(ROUNDS)]
    tries = FAILURES_TO_OPEN + (time.monotonic() - began) / FIRST_COOLDOWN_S
    assert dead.asked <= tries, f"the dead one was asked {dead.asked} times"
    assert not stage.site("llm").calls, "the fallback is not troubled"
    return min(verdicts)


def _all_down_then_back(stage: Stage) -> Verdict:
    """Everything is down: each request gets an error at once, never silence. Then all is as before."""
    sites = [stage.site(name) for name in ("pair:a", "pair:b", "llm")]
    for site in sites:
        site.always(raw(CUT))
    for _ in range(ROUNDS):
        outcome = stage.ask()
        assert outcome.error is not None
        assert outcome.status in (502, 503), outcome.status
    assert stage.lane.gateway.http.get("/health").status_code == 200
    for site in sites:
        site.always(answer())
    wait_until(lambda: stage.ask().error is None, "it answers again")
    wait_until(lambda: stage.ask().model == stage.lane.name("pair"), "the small model answers again")
    return says(by="pair")(stage.ask())


def _refusals_are_no_illness(stage: Stage) -> Verdict:
    """However often a replica refuses requests or is full, it is asked again."""
    slm = stage.site("slm")
    for behaviour in (error(400, "no", code=400), error(429)):
        slm.always(behaviour)
        for _ in range(ROUNDS):
            says(by="llm")(stage.ask())
    slm.always(answer())
    wait_until(lambda: stage.ask().model == stage.lane.name("slm"), "it is asked again")
    return Verdict.PASS


def _one_route_fails_alone(stage: Stage) -> Verdict:
    """A model that fails takes no other down."""
    stage.site("slm").always(raw(CUT))
    for _ in range(ROUNDS):
        assert stage.ask("slm").error is not None
    body = json.loads(stage.lane.gateway.http.get("/v1/models").text)
    assert stage.lane.name("slm") in {model["id"] for model in body["data"]}
    return says(by="llm")(stage.ask("llm"))


SCENARIOS: list[Scenario] = [
    Scenario("a failing model rests and returns", _rests_and_returns),
    Scenario("one of two replicas is dead", _one_dies, pair),
    Scenario("all are down, then back", _all_down_then_back, pair),
    Scenario("refusals and 429 close no replica", _refusals_are_no_illness),
    Scenario("a dead model takes no other down", _one_route_fails_alone),
]
