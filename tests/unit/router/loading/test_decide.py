"""The decision, case by case, and in a world of its own where every request must be answered in bounded time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.loading.decide import QUIET_S, TAKES_PLACE, Member, Phase, Step, decide

NOW = 1000.0
TURN_S = 30.0


def one(name: str, phase: Phase = "unloaded", since: float = 900.0, **fields: Any) -> Member:
    return Member(name, phase, since, **fields)


def steps(*members: Member, keep: int = 1) -> list[Step]:
    return decide(members, keep, TURN_S, NOW)


# On demand


def test_nothing_is_loaded_that_nobody_asks() -> None:
    assert steps(one("a"), one("b")) == []


def test_the_longest_waiting_is_loaded_first() -> None:
    assert steps(one("a", waiting_since=999.0), one("b", waiting_since=998.0)) == [Step("b", "load")]
    both = steps(one("a", waiting_since=999.0), one("b", waiting_since=998.0), one("c"), keep=2)
    assert both == [Step("b", "load"), Step("a", "load")]


def test_a_model_that_is_not_on_demand_is_loaded_in_its_hours() -> None:
    assert steps(one("a", on_demand=False)) == [Step("a", "load")]
    assert steps(one("a", on_demand=False, closed=True)) == []


@pytest.mark.parametrize("phase", ["loading", "unloading", "failed"])
def test_a_place_is_taken_until_the_memory_is_free(phase: Phase) -> None:
    loads = [step for step in steps(one("a", phase), one("b", waiting_since=999.0)) if step.action == "load"]
    assert loads == []


# Swaps


def test_a_quiet_model_makes_room_at_once() -> None:
    quiet = one("a", "loaded", last_used=NOW - QUIET_S)
    assert steps(quiet, one("b", waiting_since=999.0)) == [Step("a", "drain", "swap")]
    assert steps(quiet, one("b")) == [], "not without a need"


@pytest.mark.parametrize(
    "busy",
    [
        {"in_flight": 1},
        {"waiting_since": 999.9},
        {"last_used": NOW - QUIET_S / 2},  # a pause between two calls
        {"since": NOW - QUIET_S / 2},  # it has just been loaded
    ],
)
def test_a_busy_model_keeps_its_place_for_its_turn(busy: dict[str, Any]) -> None:
    waiting = one("b", waiting_since=999.0)
    early = {"since": NOW - TURN_S + 1} | busy
    assert steps(one("a", "loaded", **early), waiting) == []
    if "since" not in busy:
        assert steps(one("a", "loaded", NOW - TURN_S, **busy), waiting) == [Step("a", "drain", "swap")]


def test_who_is_quiet_goes_before_who_is_busy_and_the_longest_quiet_first() -> None:
    members = [
        one("busy", "loaded", 100.0, in_flight=1),
        one("short", "loaded", last_used=990.0),
        one("long", "loaded", last_used=950.0),
        one("x", waiting_since=999.0),
    ]
    assert steps(*members, keep=3) == [Step("long", "drain", "swap")]
    everybody = steps(*members, one("y", waiting_since=999.0), one("z", waiting_since=999.0), keep=3)
    assert everybody == [Step(name, "drain", "swap") for name in ("long", "short", "busy")]


def test_of_busy_models_the_one_loaded_first_goes() -> None:
    members = [one("a", "loaded", 950.0, in_flight=1), one("b", "loaded", 940.0, in_flight=1)]
    assert steps(*members, one("c", waiting_since=999.0), keep=2) == [Step("b", "drain", "swap")]


@pytest.mark.parametrize("phase", ["draining", "unloading"])
def test_no_second_model_is_drained_for_a_place_that_is_about_to_be_free(phase: Phase) -> None:
    leaving = one("a", phase, since=999.0, in_flight=1)
    others = [one("b", "loaded", last_used=900.0), one("c", waiting_since=999.0)]
    assert steps(leaving, *others, keep=2) == []


# Drains


def test_a_draining_model_is_unloaded_when_its_requests_have_ended_or_its_time_is_over() -> None:
    waiting = one("b", waiting_since=999.0)
    assert steps(one("a", "draining", 999.0, in_flight=1, drain_s=5.0), waiting) == []
    assert steps(one("a", "draining", 999.0), waiting) == [Step("a", "unload")]
    assert steps(one("a", "draining", 995.0, in_flight=1, drain_s=5.0), waiting) == [Step("a", "unload")]


def test_a_draining_model_that_is_asked_again_is_resumed_unless_another_one_waits() -> None:
    asked = one("a", "draining", 999.0, in_flight=1, waiting_since=999.5)
    assert steps(asked, one("b")) == [Step("a", "resume")]
    assert steps(asked, one("b", waiting_since=999.0)) == []
    assert steps(asked._replace(closed=True), one("b")) == []


# Idle, hours, failures


def test_a_draining_model_that_must_run_again_is_resumed() -> None:
    draining = one("a", "draining", in_flight=1, on_demand=False)
    assert steps(draining) == [Step("a", "resume")], "the clock was set back, and its hours are not over"
    assert steps(draining._replace(closed=True, since=NOW)) == []


def test_a_model_is_unloaded_when_it_is_idle_for_long_enough() -> None:
    idle = one("a", "loaded", last_used=940.0, idle_s=60.0)
    assert steps(idle) == [Step("a", "drain", "idle")]
    assert steps(idle._replace(last_used=941.0)) == []
    assert steps(idle._replace(in_flight=1)) == []
    assert steps(idle._replace(waiting_since=999.0)) == []


def test_the_end_of_its_hours_unloads_a_model() -> None:
    assert steps(one("a", "loaded", in_flight=1, closed=True)) == [Step("a", "drain", "hours")]
    assert steps(one("a", "loading", closed=True)) == [Step("a", "unload", "hours")]
    assert steps(one("a", waiting_since=999.0, closed=True)) == []


def test_a_failed_model_gives_its_place_away_unless_it_must_always_run() -> None:
    assert steps(one("a", "failed")) == [Step("a", "unload", "failed")]
    assert steps(one("a", "failed", on_demand=False)) == []
    assert steps(one("a", "failed", on_demand=False, closed=True)) == [Step("a", "unload", "hours")]
    assert steps(one("a", "blocked", waiting_since=999.0)) == []


# A world


@dataclass
class Simulated:
    """One model of the world: it takes time to load and to stop."""

    load_s: float
    stop_s: float
    phase: Phase = "unloaded"
    since: float = 0.0
    waiting: list[tuple[float, float]] = field(default_factory=list)  # arrival, duration
    ends: list[float] = field(default_factory=list)
    last_used: float = 0.0


class World:
    """Ticks of `TICK_S`. Requests that wait are let in as soon as their model is loaded, all together."""

    TICK_S, DRAIN_S = 0.5, 5.0

    def __init__(self, models: list[tuple[float, float]], keep: int, turn_s: float) -> None:
        self.models = {f"m{number}": Simulated(*times) for number, times in enumerate(models)}
        self.keep, self.turn_s = keep, turn_s
        self.now = 1.0
        self.longest_wait = 0.0

    @property
    def bound_s(self) -> float:
        """All others may have their turn first."""
        slowest = max(model.load_s + model.stop_s for model in self.models.values())
        return len(self.models) * (self.turn_s + QUIET_S + self.DRAIN_S + slowest + 6 * self.TICK_S)

    def members(self) -> list[Member]:
        return [
            Member(
                name,
                model.phase,
                model.since,
                min((at for at, _ in model.waiting), default=None),
                len(model.ends),
                model.last_used,
                drain_s=self.DRAIN_S,
            )
            for name, model in self.models.items()
        ]

    def tick(self, arrivals: list[tuple[int, float]]) -> None:
        self.now += self.TICK_S
        for number, duration in arrivals:
            self.models[f"m{number % len(self.models)}"].waiting.append((self.now, duration))
        for model in self.models.values():
            self._live(model)
        self._act()
        assert sum(model.phase in TAKES_PLACE for model in self.models.values()) <= self.keep

    def _live(self, model: Simulated) -> None:
        if running := [end for end in model.ends if end > self.now]:
            model.last_used = self.now
        model.ends = running
        if model.phase == "loading" and self.now - model.since >= model.load_s:
            model.phase, model.since = "loaded", self.now
        if model.phase == "unloading" and self.now - model.since >= model.stop_s:
            model.phase, model.since = "unloaded", self.now
        if model.phase == "loaded" and model.waiting:
            self.longest_wait = max(self.longest_wait, *(self.now - at for at, _ in model.waiting))
            model.ends += (self.now + duration for _, duration in model.waiting)
            model.waiting, model.last_used = [], self.now

    def _act(self) -> None:
        for step in decide(self.members(), self.keep, self.turn_s, self.now):
            model = self.models[step.model]
            if step.action == "unload":
                overdue = self.now - model.since >= self.DRAIN_S
                assert model.phase == "draining"
                assert not model.ends or overdue, "a model with running requests was unloaded before its time"
                model.ends = []
            before, after = {
                "load": ("unloaded", "loading"),
                "drain": ("loaded", "draining"),
                "resume": ("draining", "loaded"),
                "unload": ("draining", "unloading"),
            }[step.action]
            assert model.phase == before
            model.phase = after  # type: ignore[assignment]
            model.since = self.now


TIMES = st.tuples(st.floats(0.1, 20.0), st.floats(0.0, 5.0))
ARRIVALS = st.lists(st.tuples(st.integers(0, 4), st.floats(0.1, 15.0)), max_size=4)


@settings(max_examples=150, deadline=None)
@given(
    models=st.lists(TIMES, min_size=2, max_size=5),
    keep=st.integers(1, 4),
    turn_s=st.floats(0.5, 40.0),
    ticks=st.lists(ARRIVALS, min_size=20, max_size=150),
)
def test_every_request_is_let_in_in_bounded_time_and_no_place_is_taken_twice(
    models: list[tuple[float, float]], keep: int, turn_s: float, ticks: list[list[tuple[int, float]]]
) -> None:
    world = World(models, min(keep, len(models) - 1), turn_s)
    for arrivals in ticks:
        world.tick(arrivals)
    for _ in range(round(world.bound_s / World.TICK_S) + 1):
        world.tick([])
    assert not any(model.waiting for model in world.models.values())
    assert world.longest_wait <= world.bound_s


@pytest.mark.parametrize("keep", [1, 2])
def test_a_model_that_is_asked_without_a_pause_starves_no_other(keep: int) -> None:
    world = World([(3.0, 1.0)] * 3, keep, turn_s=10.0)
    for tick in range(600):
        world.tick([(number, 1.0) for number in range(3) if number < 2 or tick % 100 == 0])
    assert world.longest_wait <= world.bound_s
    assert not world.models["m2"].waiting or world.now - world.models["m2"].waiting[0][0] <= world.bound_s


def test_few_swaps_where_all_are_asked_all_the_time() -> None:
    world = World([(3.0, 1.0)] * 3, 2, turn_s=10.0)
    loads = 0
    for _ in range(1200):
        before = {name for name, model in world.models.items() if model.phase == "loading"}
        world.tick([(number, 0.5) for number in range(3)])
        loads += len({name for name, model in world.models.items() if model.phase == "loading"} - before)
    assert loads <= 2 * 600 / 10, "each stays for its turn"
