"""Which models of a group are loaded, drained and unloaded. Pure: time and state are arguments.

    unloaded ── load ──> loading ──> loaded ── drain ──> draining ── unload ──> unloading ──> unloaded
                            │           ^ └── resume ──────┘
                            └─> failed ── unload ──> blocked ──> preparing ──> unloaded

It may not be loaded while it is blocked, or while its weights are prepared, as a download must not take a place.
A model takes a place from its load until it is unloaded; a group has `keep` places. A model with hours or an idle time
that is in no swap group is a group of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from router.types import UnloadReason

Phase = Literal["unloaded", "loading", "loaded", "draining", "unloading", "failed", "blocked", "preparing"]
TAKES_PLACE = frozenset[Phase]({"loading", "loaded", "draining", "unloading", "failed"})
QUIET_S = 2.0
"""A model without requests for so long has nothing to do: it can be unloaded for another one. Clients that ask one
call after the other make shorter pauses."""


class Member(NamedTuple):
    """The state of one model. Times are seconds of one clock."""

    name: str
    phase: Phase
    since: float
    """when the phase began"""
    waiting_since: float | None = None
    """since when a request waits for the model; None: none does"""
    in_flight: int = 0
    last_used: float = 0.0
    """when its last request began or ended"""
    on_demand: bool = True
    """it is loaded when it is asked; otherwise always, within its hours"""
    closed: bool = False
    """its hours are over, or nearly"""
    idle_s: float | None = None
    """without a request for so long, it is unloaded"""
    drain_s: float = 60.0
    """how long its requests may go on while it is draining"""

    def quiet_s(self, now: float) -> float:
        """Return for how long a loaded model has had nothing to do."""
        busy = self.in_flight or self.waiting_since is not None
        return 0.0 if busy else now - max(self.since, self.last_used)


class Step(NamedTuple):
    """What to do with a model. The step that begins to unload it has a reason."""

    model: str
    action: Literal["load", "drain", "resume", "unload"]
    reason: UnloadReason | None = None


def decide(members: Sequence[Member], keep: int, turn_s: float, now: float) -> list[Step]:
    """Return the steps for one group. It keeps `keep` models loaded at most.

    1. A draining model that is asked again is resumed, unless another model waits. Otherwise it is unloaded when it
       has no request in flight, or when its drain time is over.
    2. A model that is closed, or failed and on demand, is unloaded; a loaded one is drained first.
    3. A model without requests for its idle time is drained.
    4. Models that are asked are loaded while there are free places, the longest waiting first.
    5. For each that found no place, and for which no place is about to be free, a loaded model is drained: the one that
       has had nothing to do for longest, else the one that was loaded first, if it has had its turn of `turn_s`.
    """
    asked = [one for one in members if one.phase == "unloaded" and not one.closed and _is_asked(one)]
    steps = [step for one in members if (step := _step_of(one, now, others_wait=bool(asked)))]  # 1, 2, 3
    room = max(0, keep - sum(one.phase in TAKES_PLACE for one in members))
    asked.sort(key=lambda one: one.since if one.waiting_since is None else one.waiting_since)
    steps += (Step(one.name, "load") for one in asked[:room])  # 4
    resumed = {step.model for step in steps if step.action == "resume"}
    leaving = {one.name for one in members if one.phase in ("draining", "unloading")} - resumed
    leaving |= {step.model for step in steps if step.action in ("drain", "unload")}
    lacking = len(asked) - room - len(leaving)
    if lacking > 0:  # 5
        staying = [one for one in members if one.phase == "loaded" and one.name not in leaving]
        steps += (Step(one.name, "drain", "swap") for one in list(_victims(staying, turn_s, now))[:lacking])
    return steps


def _is_asked(one: Member) -> bool:
    return one.waiting_since is not None or not one.on_demand


def _step_of(one: Member, now: float, *, others_wait: bool) -> Step | None:
    """Return the step that does not depend on the places of the group."""
    match one.phase:
        case "draining":
            if _is_asked(one) and not one.closed and not others_wait:
                return Step(one.name, "resume")
            if not one.in_flight or now - one.since >= one.drain_s:
                return Step(one.name, "unload")
        case "loading" if one.closed:
            return Step(one.name, "unload", "hours")
        case "failed" if one.closed or one.on_demand:
            return Step(one.name, "unload", "hours" if one.closed else "failed")
        case "loaded" if one.closed:
            return Step(one.name, "drain", "hours")
        case "loaded" if one.idle_s is not None and one.quiet_s(now) >= one.idle_s:
            return Step(one.name, "drain", "idle")
    return None


def _victims(loaded: Sequence[Member], turn_s: float, now: float) -> Iterator[Member]:
    """Yield the models that may be drained for others, in this order."""
    quiet = sorted((one for one in loaded if one.quiet_s(now) >= QUIET_S), key=lambda one: -one.quiet_s(now))
    yield from quiet
    busy = sorted((one for one in loaded if one not in quiet), key=lambda one: one.since)
    yield from (one for one in busy if now - one.since >= turn_s)
