"""What several gateway processes (workers) share of the replicas: their load, their failures, whether they live.

A replica's load and breaker are one record. A change takes the pool's lock, loads the record into the same
`BusyShare` and `Breaker` that one process has for itself, applies the change and stores it. The new record goes
beside the old one, and one cell says which of the two holds: a worker that dies midway has changed nothing. The
record counts the requests of each worker, so that a dead one's can be taken out.

Whether a replica lives is posted by the one process that watches it; workers read it without the lock.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from struct import Struct

from router.config.models import Model
from router.replicas.pool import Health, Lease, Liveness, Pool, Replica
from router.replicas.shared_memory import CELL_BYTES, Lock, cells
from router.replicas.uptime import Uptime
from router.types import ModelStatus

NOBODY = -1
DETAIL_BYTES = 256
UP, RESTARTS, LENGTH, TEXT = 0, 1, 2, 3  # cells of a post


class SharedLiveness:
    """A replica's liveness, as the process that watches it last posted it; how long it was up needs no posting."""

    def __init__(self, lock: Lock, uptime: Uptime) -> None:
        self.uptime = uptime
        self._cells = cells(TEXT + DETAIL_BYTES // CELL_BYTES)
        self._text = self._cells[TEXT:].cast("B")
        self._lock = lock

    @property
    def up(self) -> bool:
        """Whether requests may be sent."""
        return self._cells[UP] == 1

    @property
    def restarts(self) -> int:
        """How often the replica was started again."""
        return self._cells[RESTARTS]

    @property
    def detail(self) -> str:
        """Why it is not up, in one line of at most `DETAIL_BYTES`. To be read under the pool's lock."""
        return bytes(self._text[: self._cells[LENGTH]]).decode(errors="replace")

    def write(self, *, up: bool, restarts: int, detail: str) -> None:
        """Post what is new, if anything is. Only one process may."""
        text = detail.encode()[:DETAIL_BYTES]
        if (up, restarts, text) == (self.up, self.restarts, bytes(self._text[: self._cells[LENGTH]])):
            return
        with self._lock:
            self._cells[UP], self._cells[RESTARTS], self._cells[LENGTH] = up, restarts, len(text)
            self._text[: len(text)] = text


class SharedReplica(Replica):
    """A replica whose `share` and `breaker` are the record's as it was last loaded."""

    __slots__ = ("_cells", "_held", "_lock", "_prober", "_record", "worker")

    def __init__(self, name: str, url: str, liveness: Liveness, lock: Lock, workers: int) -> None:
        super().__init__(name, url, liveness)
        self.worker = 0
        self._lock = lock
        self._record = Struct(f"qdddqddqqq{workers}q")
        self._cells = cells(1 + 2 * self._record.size // CELL_BYTES)
        self._held = [0] * workers
        self._prober = NOBODY
        self.store()

    def load(self) -> None:
        """Take over what the record says. Under the lock, like `store`."""
        share, breaker = self.share, self.breaker
        (
            share.in_flight,
            share.virtual_s,
            share.since,
            share.busy_s,
            breaker.failures,
            opened_at,
            breaker.cooldown_s,
            breaker.calls,
            breaker.probe,
            self._prober,
            *self._held,
        ) = self._record.unpack_from(self._cells, self._place(self._cells[0]))
        breaker.opened_at = None if math.isnan(opened_at) else opened_at

    def store(self) -> None:
        """Make what is here the record."""
        share, breaker = self.share, self.breaker
        version = self._cells[0] + 1
        self._record.pack_into(
            self._cells,
            self._place(version),
            share.in_flight,
            share.virtual_s,
            share.since,
            share.busy_s,
            breaker.failures,
            math.nan if breaker.opened_at is None else breaker.opened_at,
            breaker.cooldown_s,
            breaker.calls,
            breaker.probe,
            self._prober,
            *self._held,
        )
        self._cells[0] = version

    def enter(self, now: float) -> tuple[float, int]:
        """Count a request of this worker's in. Under the lock, which the pool has taken to choose the replica."""
        entered = super().enter(now)
        self._held[self.worker] += 1
        if self.breaker.probe == self.breaker.calls:  # it is the one that tries whether the replica works again
            self._prober = self.worker
        self.store()
        return entered

    def leave(self, now: float, mark: float, call: int, health: Health) -> float:
        """Count a request of this worker's out; takes the lock."""
        with self._lock:
            self.load()
            self._held[self.worker] -= 1
            busy_s = super().leave(now, mark, call, health)
            self.store()
        return busy_s

    def release_worker(self, worker: int, now: float) -> None:
        """Take out what a worker held when it died; takes the lock."""
        with self._lock:
            self.load()
            self.share.lose(now, self._held[worker])
            self._held[worker] = 0
            if self._prober == worker:
                self.breaker.undecided(self.breaker.probe)
                self._prober = NOBODY
            self.store()

    def _place(self, version: int) -> int:
        return CELL_BYTES + version % 2 * self._record.size


class SharedPool(Pool):
    """The replicas of one model, as all workers see and use them. Made before the fork; see `Pool`."""

    def __init__(self, model: Model, replicas: Sequence[SharedReplica], lock: Lock) -> None:
        super().__init__(model, replicas)
        self._lock = lock
        self._shared = tuple(replicas)
        self._turns = cells(1)

    def set_worker(self, worker: int) -> None:
        """Say which worker this process is, counted from 0."""
        for replica in self._shared:
            replica.worker = worker

    def release_worker(self, worker: int, now: float) -> None:
        """Take out what a worker held when it died."""
        for replica in self._shared:
            replica.release_worker(worker, now)

    def acquire(self, now: float, *, tried: Collection[str] = (), last_resort: bool = False) -> Lease:
        """Lease the least loaded replica, whoever loads it."""
        with self._lock:
            self._load()
            self._turn = self._turns[0]
            lease = super().acquire(now, tried=tried, last_resort=last_resort)
            self._turns[0] = self._turn
        return lease

    def untried(self, now: float, tried: Collection[str]) -> int:
        """Return how many replicas could take a request and are not in `tried`."""
        with self._lock:
            self._load()
            return super().untried(now, tried)

    def status(self, now: float) -> ModelStatus:
        """Return what the pool looks like now."""
        with self._lock:
            self._load()
            return super().status(now)

    def _load(self) -> None:
        for replica in self._shared:
            replica.load()
