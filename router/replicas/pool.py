"""The replicas of one model, and the leases on them.

A lease is one request's hold on one replica. It is released exactly once, by whatever ends first: the answer,
an error, or a client that leaves. No method here awaits, so a state change is never seen half done.
`board` has the same for several processes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from router.config.models import Model
from router.errors import Unavailable
from router.money import cost
from router.record import Attempt
from router.replicas import balance
from router.replicas.breaker import Breaker
from router.replicas.uptime import Uptime
from router.types import ModelStatus, ReplicaWork
from router.upstream.base import Exchange

log = logging.getLogger("smallfirst.pool")

Health = Literal["good", "bad", "unknown"]
"""what an ended request says of its replica; unknown: nothing (the client left, or was itself at fault)"""


class Liveness(Protocol):
    """Who knows whether a replica runs: a supervisor, a probe, or nobody (`Unwatched`)."""

    @property
    def up(self) -> bool:
        """Whether requests may be sent."""
        ...

    @property
    def detail(self) -> str:
        """Why not, in one line for people; empty when up."""
        ...

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        ...

    @property
    def uptime(self) -> Uptime:
        """For how long it was up."""
        ...


@dataclass(frozen=True, slots=True)
class Unwatched:
    """An upstream whose health only its answers tell."""

    up: bool = True
    detail: str = ""
    restarts: int = 0
    uptime: Uptime = field(default_factory=Uptime)


@dataclass(slots=True)
class Replica:
    """One process that serves a model. `url` is the API's root, `.../v1`."""

    name: str
    url: str
    liveness: Liveness = field(default_factory=Unwatched)
    breaker: Breaker = field(default_factory=Breaker)
    share: cost.BusyShare = field(default_factory=cost.BusyShare)

    def available(self, now: float) -> bool:
        """Return whether a request may be sent to it."""
        return self.liveness.up and self.breaker.allows(now)

    def detail(self, now: float) -> str:
        """Return why not, in one line; empty when it may."""
        if self.liveness.up and self.breaker.resting(now):
            return f"{self.name} failed {self.breaker.failures} times in a row and rests"
        return self.liveness.detail

    def enter(self, now: float) -> tuple[float, int]:
        """Count a request in; return the mark and the number of the call, which `leave` needs."""
        return self.share.enter(now), self.breaker.sent(now)

    def leave(self, now: float, mark: float, call: int, health: Health) -> float:
        """Count a request out, and tell the breaker of it; return its share of the replica's time in seconds."""
        breaker = self.breaker
        if health == "good":
            breaker.succeeded()
        elif health == "bad":
            breaker.failed(now, call)
        else:
            breaker.undecided(call)
        return self.share.leave(now, mark)


class Lease:
    """One request on one replica; holds the connection and knows what it cost."""

    __slots__ = ("_call", "_mark", "attempt", "exchange", "model", "replica")

    def __init__(self, replica: Replica, model: Model, now: float) -> None:
        self.replica = replica
        self.model = model
        self.attempt = Attempt(model.name, replica.name, model.price)
        self.exchange: Exchange | None = None
        self._mark: float | None
        self._mark, self._call = replica.enter(now)

    def release(self, now: float, health: Health) -> None:
        """End the hold: close the connection, price the attempt, tell the breaker. Idempotent."""
        if self._mark is None:
            return
        mark, self._mark = self._mark, None
        self.attempt.busy_s = self.replica.leave(now, mark, self._call, health)
        if self.exchange is not None:
            self.exchange.close()
        if health == "bad" and self.replica.breaker.opened_at == now:
            breaker = self.replica.breaker
            log.warning(
                "%s failed %d times in a row: resting %g s", self.replica.name, breaker.failures, breaker.cooldown_s
            )

    def abandon(self, now: float) -> None:
        """Release it where nothing else has: the client left, or its deadline passed."""
        if self._mark is not None:
            self.attempt.failure = "abandoned"
            self.release(now, "unknown")


class Pool:
    """The replicas of one model."""

    def __init__(self, model: Model, replicas: Sequence[Replica]) -> None:
        self.model = model
        self.replicas = tuple(replicas)
        self._turn = 0

    def acquire(self, now: float, *, tried: Collection[str] = (), last_resort: bool = False) -> Lease:
        """Lease the least loaded replica, one that was not `tried` where there is one.

        `last_resort`: nobody else can answer, so a replica that only its breaker rests is used after all.

        Raises:
            Unavailable: no replica can take it; the message says why.
        """
        candidates = [replica for replica in self.replicas if replica.available(now)]
        if not candidates and last_resort:
            candidates = [replica for replica in self.replicas if replica.liveness.up]
        if not candidates:
            raise self._unavailable(now)
        if tried:
            candidates = [replica for replica in candidates if replica.name not in tried] or candidates
        self._turn += 1
        chosen = 0
        if len(candidates) > 1:
            chosen = balance.least_loaded([replica.share.in_flight for replica in candidates], self._turn)
        return Lease(candidates[chosen], self.model, now)

    def untried(self, now: float, tried: Collection[str]) -> int:
        """Return how many replicas could take a request and are not in `tried`."""
        return sum(replica.name not in tried and replica.available(now) for replica in self.replicas)

    def status(self, now: float) -> ModelStatus:
        """Return what the pool looks like now: a replica is up when it lives and does not rest."""
        return ModelStatus(
            model=self.model.name,
            replicas=len(self.replicas),
            up=sum(replica.liveness.up and not replica.breaker.resting(now) for replica in self.replicas),
            in_flight=sum(replica.share.in_flight for replica in self.replicas),
            restarts=sum(replica.liveness.restarts for replica in self.replicas),
            detail=self._detail(now),
            work=[
                ReplicaWork(replica.name, replica.liveness.uptime.until(now), replica.share.busy_until(now))
                for replica in self.replicas
            ],
        )

    def _detail(self, now: float) -> str:
        return "; ".join(filter(None, (replica.detail(now) for replica in self.replicas)))

    def _unavailable(self, now: float) -> Unavailable:
        resting = [replica.breaker.retry_after_s(now) for replica in self.replicas if replica.liveness.up]
        reason = self._detail(now) or "one request is trying whether it works again"
        return Unavailable(
            f"The model '{self.model.name}' is not available: {reason}.",
            retry_after_s=max(1.0, min(resting, default=5.0)),
        )
