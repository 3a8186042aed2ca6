"""Replica state that several gateway processes (workers) share: load, failures and liveness.

A replica's load and breaker are one record. A change takes the pool's lock, loads the record into the same
`BusyShare` and `Breaker` that a single process uses, applies the change and stores the record. There are two slots:
the new record is written to the unused one, then one cell switches to it. A worker that dies in between has changed
nothing. The record counts the requests of each worker, so those of a dead worker can be removed.

The process that watches a replica publishes its liveness. Workers read it without the lock.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from struct import Struct

from router.config.models import Model
from router.replicas.liveness import Liveness
from router.replicas.load_state import LoadState
from router.replicas.pool import Health, Lease, Pool, Replica
from router.replicas.shared_memory import CELL_BYTES, Lock, cells
from router.replicas.uptime import Uptime
from router.types import ModelStatus

NO_WORKER = -1
DETAIL_BYTES = 256
UP, MAY_ANSWER, RESTARTS, LENGTH, TEXT = range(5)  # cells of a `SharedLiveness`


class SharedLiveness:
    """A replica's liveness as its watcher last published it. `uptime` and `paid` are in shared memory themselves."""

    def __init__(self, lock: Lock, uptime: Uptime, paid: Uptime) -> None:
        self.uptime = uptime
        self.paid = paid
        self._cells = cells(TEXT + DETAIL_BYTES // CELL_BYTES)
        self._text = self._cells[TEXT:].cast("B")
        self._lock = lock

    @property
    def up(self) -> bool:
        """Whether requests may be sent."""
        return self._cells[UP] == 1

    @property
    def may_answer(self) -> bool:
        """Whether requests may be sent if no other model answers."""
        return self._cells[MAY_ANSWER] == 1

    @property
    def restarts(self) -> int:
        """Number of restarts."""
        return self._cells[RESTARTS]

    @property
    def detail(self) -> str:
        """The reason why it is down, in one line of at most `DETAIL_BYTES`. Read it under the pool's lock."""
        return bytes(self._text[: self._cells[LENGTH]]).decode(errors="replace")

    def write(self, *, up: bool, may_answer: bool, restarts: int, detail: str) -> None:
        """Publish the state if it changed. Only one process may call this."""
        text = detail.encode()[:DETAIL_BYTES]
        before = self.up, self.may_answer, self.restarts, bytes(self._text[: self._cells[LENGTH]])
        if (up, may_answer, restarts, text) == before:
            return
        with self._lock:
            self._cells[UP], self._cells[MAY_ANSWER] = up, may_answer
            self._cells[RESTARTS], self._cells[LENGTH] = restarts, len(text)
            self._text[: len(text)] = text


class SharedReplica(Replica):
    """A replica whose `share` and `breaker` are copies of the shared record, as of the last `load`."""

    __slots__ = ("_cells", "_held", "_lock", "_prober", "_record")

    def __init__(self, name: str, url: str, liveness: Liveness, lock: Lock, workers: int) -> None:
        super().__init__(name, url, liveness)
        self._lock = lock
        self._record = Struct(f"qdddqqddqqqq{workers}q")
        self._cells = cells(1 + 2 * self._record.size // CELL_BYTES)
        self._held = [0] * workers
        self._prober = NO_WORKER
        self.store()

    def load(self) -> None:
        """Copy the shared record into this object. The caller holds the lock."""
        share, breaker = self.share, self.breaker
        (
            share.in_flight,
            share.virtual_s,
            share.since,
            share.busy_s,
            breaker.failures,
            breaker.window,
            opened_at,
            breaker.cooldown_s,
            breaker.calls,
            breaker.opened_after,
            breaker.probe,
            self._prober,
            *self._held,
        ) = self._record.unpack_from(self._cells, self._offset(self._cells[0]))
        breaker.opened_at = None if math.isnan(opened_at) else opened_at

    def store(self) -> None:
        """Copy this object into the shared record. The caller holds the lock."""
        share, breaker = self.share, self.breaker
        version = self._cells[0] + 1
        self._record.pack_into(
            self._cells,
            self._offset(version),
            share.in_flight,
            share.virtual_s,
            share.since,
            share.busy_s,
            breaker.failures,
            breaker.window,
            math.nan if breaker.opened_at is None else breaker.opened_at,
            breaker.cooldown_s,
            breaker.calls,
            breaker.opened_after,
            breaker.probe,
            self._prober,
            *self._held,
        )
        self._cells[0] = version

    def enter(self, now: float) -> tuple[float, int]:
        """Count in a request of this worker. The caller holds the lock, which it took to choose the replica."""
        entered = super().enter(now)
        self._held[self.worker] += 1
        if self.breaker.probe == self.breaker.calls:  # this call is the recovery probe
            self._prober = self.worker
        self.store()
        return entered

    def leave(self, now: float, mark: float, call: int, health: Health) -> float:
        """Count out a request of this worker. Takes the lock."""
        with self._lock:
            self.load()
            self._held[self.worker] -= 1
            busy_s = super().leave(now, mark, call, health)
            self.store()
        return busy_s

    def succeeded(self, call: int) -> None:
        """Tell the breaker that the replica answers a call. Takes the lock."""
        with self._lock:
            self.load()
            super().succeeded(call)
            self.store()

    def release_worker(self, worker: int, now: float) -> None:
        """Count out the requests that a worker held when it died. Takes the lock."""
        with self._lock:
            self.load()
            self.share.drop(now, self._held[worker])
            self._held[worker] = 0
            if self._prober == worker:
                self.breaker.inconclusive(self.breaker.probe)
                self._prober = NO_WORKER
            self.store()

    def _offset(self, version: int) -> int:
        return CELL_BYTES + version % 2 * self._record.size


class SharedPool(Pool):
    """A `Pool` that all workers share. It is created before the fork."""

    def __init__(
        self, model: Model, replicas: Sequence[Replica], lock: Lock, load_state: LoadState | None = None
    ) -> None:
        super().__init__(model, replicas, load_state)
        self._lock = lock
        self._turns = cells(1)

    def set_worker(self, worker: int) -> None:
        """Set the number of this process's worker, counted from 0."""
        for replica in self.replicas:
            replica.worker = worker
        if self.load_state is not None:
            self.load_state.worker = worker

    def release_worker(self, worker: int, now: float) -> None:
        """Count out the requests that a worker held when it died, and those that waited."""
        for replica in self.replicas:
            replica.release_worker(worker, now)
        if self.load_state is not None:
            self.load_state.release_worker(worker)

    def acquire(
        self, now: float, *, tried: Collection[str] = (), last_resort: bool = False, key: int | None = None
    ) -> Lease:
        """Lease a replica, by the load from all workers; see `Pool.acquire`."""
        with self._lock:
            self._load()
            self._turn = self._turns[0]
            lease = super().acquire(now, tried=tried, last_resort=last_resort, key=key)
            self._turns[0] = self._turn
        return lease

    def untried(self, now: float, tried: Collection[str], *, last_resort: bool = False) -> int:
        """Return the number of available replicas that are not in `tried`."""
        with self._lock:
            self._load()
            return super().untried(now, tried, last_resort=last_resort)

    def activity(self) -> tuple[int, float]:
        """Return the requests in flight, and when the last one began or ended."""
        with self._lock:
            self._load()
            return super().activity()

    def status(self, now: float) -> ModelStatus:
        """Return the current status."""
        with self._lock:
            self._load()
            return super().status(now)

    def _load(self) -> None:
        for replica in self.replicas:
            replica.load()
