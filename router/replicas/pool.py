"""The replicas of one model, and the leases on them.

A lease is one request's claim on one replica. It is released exactly once: when the answer ends, an error occurs or
the client disconnects. No method here awaits, so no other task sees a half-finished state change. `shared_pool` does
the same for several processes.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from router.config.models import Model
from router.errors import ApiError, FailedLately, NotLoaded, OutsideHours, Resting, Unavailable
from router.money import cost
from router.record import Attempt
from router.replicas import balance
from router.replicas.breaker import Breaker
from router.replicas.cooldown import Cooldown
from router.replicas.liveness import Liveness, Unwatched
from router.replicas.load_state import LoadState
from router.types import ModelStatus, ReplicaWork
from router.upstream.base import Exchange
from router.upstream.dialects import DIALECTS
from router.upstream.url import endpoint_url

log = logging.getLogger("smallfirst.pool")

Health = Literal["good", "bad", "unknown"]
"""what a finished request shows about its replica; unknown if the client disconnected or was itself at fault"""


@dataclass(slots=True)
class Replica:
    """One process that serves a model. `url` is the root of its API, `.../v1`."""

    name: str
    url: str
    liveness: Liveness = field(default_factory=Unwatched)
    breaker: Breaker = field(default_factory=Breaker)
    share: cost.BusyShare = field(default_factory=cost.BusyShare)
    worker: int = 0
    """the number of this process's worker, counted from 0"""
    cooldown: Cooldown = field(default_factory=Cooldown)

    @property
    def in_flight(self) -> int:
        """Return the number of requests for this replica's model."""
        return self.share.in_flight

    def endpoint_url(self, path: str) -> str:
        """Return the URL of an endpoint of its API. A query of `url`, such as Azure's api-version, comes last."""
        return endpoint_url(self.url, path)

    def asked_as(self, model: Model) -> Model:
        """Return the model with the name that it has at this replica."""
        return model

    def load(self) -> None:
        """Read what other processes have written. A replica of one process has nothing to read."""

    def release_worker(self, worker: int, now: float) -> None:
        """Count out the requests that a worker held when it died. A replica of one process has no others."""

    def available(self, now: float) -> bool:
        """Return whether a request may be sent to this replica."""
        return self.liveness.up and self.breaker.allows(now) and not self.cooldown.left_s(now)

    def detail(self, now: float) -> str:
        """Return one line that says why no request may be sent, or an empty string."""
        if self.liveness.up and self.breaker.cooling_down(now):
            return f"{self.name} {self.breaker.evidence} and is cooling down"
        return self.liveness.detail

    def enter(self, now: float) -> tuple[float, int]:
        """Count a request in. Return the mark and the call number that `leave` needs."""
        return self.share.enter(now), self.breaker.start_call(now)

    def leave(self, now: float, mark: float, call: int, health: Health) -> float:
        """Count a request out and update the breaker. Return its share of the replica's time in seconds."""
        breaker = self.breaker
        if health == "good":
            breaker.succeeded(call)
        elif health == "bad":
            breaker.failed(now, call)
        else:
            breaker.inconclusive(call)
        return self.share.leave(now, mark)

    def succeeded(self, call: int) -> None:
        """Tell the breaker that the replica answers a call, before `leave`."""
        self.breaker.succeeded(call)


class Lease:
    """One request on one replica. Holds its connection and its cost."""

    __slots__ = ("_call", "_mark", "attempt", "exchange", "model", "replica")

    def __init__(self, replica: Replica, model: Model, now: float) -> None:
        self.replica = replica
        self.model = model
        self.attempt = Attempt(model.name, replica.name, model.price)
        self.exchange: Exchange | None = None
        self._mark: float | None
        self._mark, self._call = replica.enter(now)

    def begin_answer(self) -> None:
        """Note that a stream has begun. If it is the breaker's probe, other requests need not wait for its end."""
        if self._mark is not None and self._call == self.replica.breaker.probe:
            self.replica.succeeded(self._call)

    def release(self, now: float, health: Health) -> None:
        """End the lease: close the connection, record the busy time and update the breaker. Idempotent."""
        if self._mark is None:
            return
        mark, self._mark = self._mark, None
        self.attempt.busy_s = self.replica.leave(now, mark, self._call, health)
        if self.exchange is not None:
            self.exchange.close()
        if health == "bad" and self.replica.breaker.opened_at == now:
            breaker = self.replica.breaker
            log.warning("%s %s: no requests for %g s", self.replica.name, breaker.evidence, breaker.cooldown_s)

    def abandon(self, now: float) -> None:
        """Release a lease that is still held because the client disconnected or the deadline passed."""
        if self._mark is not None:
            self.attempt.failure = "abandoned"
            self.release(now, "unknown")


class Pool:
    """The replicas of one model. `load_state` is for a model that is not always loaded."""

    def __init__(self, model: Model, replicas: Sequence[Replica], load_state: LoadState | None = None) -> None:
        self.model = model
        self.replicas = tuple(replicas)
        self.load_state = load_state
        by_default = "least_loaded" if DIALECTS[model.engine].has_one_slot else "prefix"
        self.balances_by_prefix = len(self.replicas) > 1 and (model.balance or by_default) == "prefix"
        """whether `acquire` should get a key"""
        self._seeds = {replica.name: balance.seed_of(replica.name) for replica in self.replicas}
        self._turn = 0

    def acquire(
        self, now: float, *, tried: Collection[str] = (), last_resort: bool = False, key: int | None = None
    ) -> Lease:
        """Lease the replica that the key prefers, or the least loaded one if there is no key; see `balance`.

        Replicas in `tried` are used only if there is no other.

        With `last_resort` no other model can answer, so a replica that only its breaker or its cooldown excludes is
        used after all, or else one whose health check is late, as it may be under load.

        Raises:
            Resting: every replica that could take the request wants none for a while.
            FailedLately: breakers or late health checks keep requests from the replicas.
            Unavailable: no replica can take the request; the message says why.
        """
        candidates = [replica for replica in self.replicas if replica.available(now)]
        if not candidates and last_resort:
            candidates = [replica for replica in self.replicas if replica.liveness.up] or self._suspects(now)
        if not candidates:
            raise self._unavailable(now)
        if tried:
            candidates = [replica for replica in candidates if replica.name not in tried] or candidates
        self._turn += 1
        chosen = 0
        if len(candidates) > 1:
            in_flight = [replica.share.in_flight for replica in candidates]
            if key is None:
                chosen = balance.least_loaded(in_flight, self._turn)
            else:
                chosen = balance.by_key(in_flight, [self._seeds[replica.name] for replica in candidates], key)
        return Lease(candidates[chosen], candidates[chosen].asked_as(self.model), now)

    def untried(self, now: float, tried: Collection[str], *, last_resort: bool = False) -> int:
        """Return the number of available replicas that are not in `tried`.

        With `last_resort`, replicas that only their breakers exclude count, too.
        """
        return sum(
            replica.name not in tried and (replica.liveness.up if last_resort else replica.available(now))
            for replica in self.replicas
        )

    def status(self, now: float) -> ModelStatus:
        """Return the current status. A replica counts as up if it is live and its breaker is not cooling down."""
        return ModelStatus(
            model=self.model.name,
            replicas=len(self.replicas),
            up=sum(replica.liveness.up and not replica.breaker.cooling_down(now) for replica in self.replicas),
            in_flight=sum(replica.in_flight for replica in self.replicas),
            restarts=sum(replica.liveness.restarts for replica in self.replicas),
            detail=self._detail(now),
            work=self._work(now),
            load=self.load_state.report() if self.load_state else None,
        )

    def activity(self) -> tuple[int, float]:
        """Return the requests in flight at the replicas, and when the last one began or ended (0: there was none)."""
        shares = [replica.share for replica in self.replicas]
        return sum(share.in_flight for share in shares), max(share.since for share in shares)

    @property
    def is_live(self) -> bool:
        """Return whether a replica is up. Needs no lock."""
        return any(replica.liveness.up for replica in self.replicas)

    def _work(self, now: float) -> list[ReplicaWork]:
        if self.model.adapter_of is not None:  # the hours of its replicas count once, for the model that has them
            return [ReplicaWork(replica.name, 0.0, 0.0, 0.0) for replica in self.replicas]
        return [
            ReplicaWork(
                replica.name,
                up_s=replica.liveness.uptime.until(now),
                busy_s=replica.share.busy_until(now),
                paid_s=replica.liveness.paid.until(now),
            )
            for replica in self.replicas
        ]

    def _suspects(self, now: float) -> list[Replica]:
        """Return the replicas whose health check is late, but whose breaker says nothing against them."""
        return [replica for replica in self.replicas if replica.liveness.may_answer and replica.breaker.allows(now)]

    def _detail(self, now: float) -> str:
        return "; ".join(filter(None, (replica.detail(now) for replica in self.replicas)))

    def _unavailable(self, now: float) -> ApiError:
        cooling_s = [one.cooldown.left_s(now) for one in self.replicas if one.liveness.up and one.breaker.allows(now)]
        if cooling_s:
            left_s = max(1.0, min(cooling_s))
            message = f"The model '{self.model.name}' is overloaded: it gets no requests for {left_s:.0f} s."
            return Resting(message, retry_after_s=left_s)
        waits_s = [replica.breaker.retry_after_s(now) for replica in self.replicas if replica.liveness.up]
        reason = self._detail(now) or "a recovery probe is in progress"
        if self.load_state is not None and not self.is_live:
            if (opens_in_s := self.load_state.opens_in_s(now)) is not None:
                message = f"The model '{self.model.name}' runs at other hours: {self.model.hours}."
                return OutsideHours(message, retry_after_s=max(1.0, opens_in_s))
            if self.load_state.may_wait and not self.load_state.is_loaded:
                return NotLoaded(f"The model '{self.model.name}' was not loaded in time: {reason}.", retry_after_s=5.0)
        error = FailedLately if waits_s or self._suspects(now) else Unavailable
        return error(
            f"The model '{self.model.name}' is not available: {reason}.",
            retry_after_s=max(1.0, min(waits_s, default=5.0)),
        )
