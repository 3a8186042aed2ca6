"""Loads and unloads the models that are not always loaded, as `decide` says."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple, Protocol

from router.config.hours import Hours
from router.config.models import Config, Model
from router.loading.decide import Member, Phase, Step, decide
from router.replicas.load_state import LoadState
from router.replicas.pool import Pool
from router.types import LoadPhase, UnloadReason

log = logging.getLogger("smallfirst.loading")

INTERVAL_S = 0.1
SHOWN: dict[Phase, LoadPhase] = {
    "loading": "loading", "loaded": "loaded", "draining": "draining", "failed": "loaded",
}  # fmt: skip
"""phases as clients and metrics see them; a failed model should be loaded, and all others are unloaded"""
DRAINING = "finishes its requests before it is unloaded"
NOT_LOADED = "not loaded: it is loaded on demand"
LAST_LOAD_FAILED = "it failed, and is not started again yet"


class Loadable(Protocol):
    """A replica that can be loaded and unloaded: a supervised vLLM, or an attached server with hours."""

    def load(self) -> None:
        """Start it, or let it take requests again."""
        ...

    def drain(self, why: str) -> None:
        """Let it take no new requests; `why` in one line for people."""
        ...

    def unload(self, why: str) -> None:
        """Stop it."""
        ...

    @property
    def is_loaded(self) -> bool:
        """Whether it runs."""
        ...

    @property
    def holds_memory(self) -> bool:
        """Whether its process may have memory that another model needs."""
        ...

    @property
    def has_failed(self) -> bool:
        """Whether it waits before it can be started again."""
        ...

    @property
    def is_preparing(self) -> bool:
        """Whether it cannot be started yet, because its weights are downloaded or converted first."""
        ...


@dataclass(slots=True)
class _Entry:
    """One model as the loader knows it."""

    pool: Pool
    state: LoadState
    replicas: Sequence[Loadable]
    on_demand: bool
    phase: Phase = "unloaded"
    since: float = 0.0
    is_wanted: bool = False
    is_drained: bool = False
    reason: UnloadReason = "swap"
    """why it is drained"""
    is_open: bool = True
    changes_at: datetime | None = None
    """when its hours begin or end next"""
    opens_in_s: float | None = None
    """the seconds until it is open; None: it is"""

    @property
    def model(self) -> Model:
        return self.pool.model

    @property
    def is_loaded(self) -> bool:
        """Return whether requests find the model loaded, or should."""
        return SHOWN.get(self._read_phase()) == "loaded"

    def look(self, now: float, wall: datetime) -> Member:
        """Read the state of the model."""
        self._read_hours(wall)
        self._note_phase(now)
        in_flight, last_used = self.pool.activity()
        return Member(
            self.model.name,
            self.phase,
            self.since,
            waiting_since=self.state.waiting_since,
            in_flight=in_flight,
            last_used=last_used,
            on_demand=self.on_demand,
            closed=self.opens_in_s is not None,
            idle_s=self.model.idle_minutes and self.model.idle_minutes * 60,
            drain_s=self.model.timeouts.drain_s,
        )

    def take(self, step: Step) -> None:
        """Tell the replicas what to do."""
        match step.action:
            case "load" | "resume":
                self.is_wanted, self.is_drained = True, False
                for one in self.replicas:
                    one.load()
                if step.action == "load":
                    self.state.count_load()
            case "drain":
                self.is_drained, self.reason = True, step.reason or self.reason
                for one in self.replicas:
                    one.drain(DRAINING)
            case "unload":
                self.reason = step.reason or self.reason
                self.unload()
                self.state.count_unload(self.reason)

    def unload(self) -> None:
        """Stop the replicas, and say why."""
        self.is_wanted = self.is_drained = False
        why = LAST_LOAD_FAILED if self.reason == "failed" else NOT_LOADED
        for one in self.replicas:
            one.unload(f"runs at other hours: {self.model.hours}" if self.opens_in_s is not None else why)

    def publish(self, now: float) -> None:
        """Show the state to requests."""
        self._note_phase(now)
        may_wait = self.on_demand and self.opens_in_s is None and self.phase not in ("failed", "blocked")
        opens_at = None if self.opens_in_s is None else now + self.opens_in_s
        self.state.write(SHOWN.get(self.phase, "unloaded"), may_wait=may_wait, opens_at=opens_at)

    def _note_phase(self, now: float) -> None:
        if (phase := self._read_phase()) != self.phase:
            self.phase, self.since = phase, now

    def _read_hours(self, wall: datetime) -> None:
        if (hours := self.model.timetable) is None:
            return
        if (is_open := hours.contains(wall)) != self.is_open or self.changes_at is None or wall >= self.changes_at:
            self.is_open, self.changes_at = is_open, hours.next_change(wall)
        if self.changes_at is None:  # it is always open
            return
        left_s = (self.changes_at - wall).total_seconds()
        if not self.is_open:
            self.opens_in_s = left_s
        elif left_s > self.model.timeouts.drain_s:
            self.opens_in_s = None
        elif self.opens_in_s is None:
            self.opens_in_s = left_s + _closed_s(hours, self.changes_at)

    def _read_phase(self) -> Phase:
        if not self.is_wanted:
            if any(one.holds_memory for one in self.replicas):
                return "unloading"
            could_start = [one for one in self.replicas if not one.has_failed]  # one that fails holds up no other
            if not could_start:
                return "blocked"
            return "preparing" if all(one.is_preparing for one in could_start) else "unloaded"
        if any(one.is_loaded for one in self.replicas):
            return "draining" if self.is_drained else "loaded"
        return "failed" if all(one.has_failed for one in self.replicas) else "loading"


class _Group(NamedTuple):
    entries: Sequence[_Entry]
    keep: int
    turn_s: float


class Loader:
    """Runs beside the replicas of the models that are not always loaded. None of them is loaded before `step`.

    `replicas` and `pools` are by model; adapters are loaded with their model. `publish` shows the replicas' liveness to
    the workers.
    """

    def __init__(
        self,
        config: Config,
        pools: Mapping[str, Pool],
        replicas: Mapping[str, Sequence[Loadable]],
        publish: Callable[[], None],
    ) -> None:
        self._publish = publish
        entries = {
            name: _Entry(pool, pool.load_state, replicas[name], on_demand=name in config.on_demand)
            for name, pool in pools.items()
            if pool.load_state is not None and name in replicas
        }
        for entry in entries.values():
            entry.unload()
            entry.publish(monotonic())
        self._groups = [
            _Group([entries.pop(name) for name in group.models if name in entries], group.keep, group.turn_s)
            for group in config.swap.values()
        ]
        self._groups += (_Group([entry], 1, math.inf) for entry in entries.values())

    @property
    def is_needed(self) -> bool:
        """Return whether there are such models."""
        return bool(self._groups)

    async def run(self) -> None:
        """Load and unload until cancelled."""
        while True:
            self.step(monotonic(), datetime.now(UTC))
            await asyncio.sleep(INTERVAL_S)

    def step(self, now: float, wall: datetime) -> None:
        """Decide and act once.

        A model is unloaded one step after its drain was published, at the earliest: a request that was let in before
        is seen in flight then.
        """
        for group in self._groups:
            by_name = {entry.model.name: entry for entry in group.entries}
            members = [entry.look(now, wall) for entry in group.entries]
            for step in decide(members, group.keep, group.turn_s, now):
                log.info("%s: %s%s", step.model, step.action, f" ({step.reason})" if step.reason else "")
                by_name[step.model].take(step)
        entries = [entry for group in self._groups for entry in group.entries]
        # A loaded model whose replicas are down is not waited for. So no request may see it like that on the way.
        for entry in entries:
            if not entry.is_loaded:
                entry.publish(now)
        self._publish()
        for entry in entries:
            if entry.is_loaded:
                entry.publish(now)


def _closed_s(hours: Hours, closes_at: datetime) -> float:
    """Return for how long a model is closed, once it closes."""
    opens_at = hours.next_change(closes_at)
    return 0.0 if opens_at is None else (opens_at - closes_at).total_seconds()
