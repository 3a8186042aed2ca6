"""A replica as the replica of an adapter (LoRA) that its engine has loaded beside the model.

Load, failures and paid time belong to the replica, whichever of its models is asked. An adapter has only its own
version there and its own count of requests.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from router.config.models import Model
from router.replicas.liveness import Liveness
from router.replicas.pool import Health, Replica
from router.replicas.shared_memory import cells

VERSION, REQUESTS = 0, 1  # cells of an `AdapterSlot`: the version, then one count for each worker


def name_at_engine(adapter: str, version: int) -> str:
    """Return the name of one version of an adapter at the engine. No model of models.yaml has such a name."""
    return f"{adapter}@{version:012x}"


class AdapterSlot:
    """Which version of an adapter one replica serves, and how many requests each worker has on it.

    All processes share it. A worker changes its own count only. It reads the version and counts a request under the
    lock of the pool, and the version changes under that lock. So a request that was counted later has the new version.
    """

    def __init__(self, workers: int = 1, lock: AbstractContextManager[None] | None = None) -> None:
        self._cells = cells(REQUESTS + workers)
        self._lock = lock or nullcontext()

    @property
    def version(self) -> int:
        """The version that new requests get; 0: none."""
        return self._cells[VERSION]

    def switch_to(self, version: int) -> None:
        """Give new requests this version. Only one process may call this."""
        with self._lock:
            self._cells[VERSION] = version

    @property
    def in_flight(self) -> int:
        """Return the number of requests of all workers."""
        return sum(self._cells[REQUESTS:])

    def count(self, worker: int, change: int) -> None:
        """Change the number of requests of one worker."""
        self._cells[REQUESTS + worker] += change

    def release_worker(self, worker: int) -> None:
        """Count out the requests that a worker held when it died."""
        self._cells[REQUESTS + worker] = 0


class AdapterReplica(Replica):
    """The replica `base` as the replica of an adapter. It shares everything but the liveness and the slot."""

    __slots__ = ("_asked_as", "_base", "_slot")

    def __init__(self, base: Replica, liveness: Liveness, slot: AdapterSlot) -> None:
        super().__init__(base.name, base.url, liveness, base.breaker, base.share, cooldown=base.cooldown)
        self._base = base
        self._slot = slot
        self._asked_as: tuple[int, Model] | None = None

    @property
    def in_flight(self) -> int:
        """Return the number of requests for the adapter."""
        return self._slot.in_flight

    def asked_as(self, model: Model) -> Model:
        """Return the adapter's model with the name of the version that this replica serves."""
        version = self._slot.version
        if self._asked_as is None or self._asked_as[0] != version:
            named = model.model_copy(update={"upstream_model": name_at_engine(model.name, version)})
            self._asked_as = version, named
        return self._asked_as[1]

    def load(self) -> None:
        """Read what other processes have written."""
        self._base.load()

    def enter(self, now: float) -> tuple[float, int]:
        """Count a request in, for the adapter and for the replica."""
        self._slot.count(self.worker, 1)
        return self._base.enter(now)

    def leave(self, now: float, mark: float, call: int, health: Health) -> float:
        """Count a request out, for the adapter and for the replica."""
        self._slot.count(self.worker, -1)
        return self._base.leave(now, mark, call, health)

    def succeeded(self, call: int) -> None:
        """Tell the breaker that the replica answers a call."""
        self._base.succeeded(call)

    def release_worker(self, worker: int, now: float) -> None:
        """Count out the requests that a worker held when it died."""
        self._slot.release_worker(worker)
        self._base.release_worker(worker, now)
