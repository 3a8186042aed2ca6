"""All replicas of one configuration: the pools, and the probes, supervisors and loader that take care of them.

With several workers, the fleet is created before the fork. Its watchers run in a separate process, which publishes
the liveness that they report. Every process has the pools.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import monotonic

from router.adapters.model_adapters import AdapterLiveness, ModelAdapters, ReplicaAdapters
from router.config.models import Config, Model, without_adapters
from router.engine.gpu_turns import GpuTurns
from router.engine.supervisor import Supervisor
from router.engine.warm_start import WarmStart
from router.loading.loader import Loader
from router.profile.learned import LearnedProfiles
from router.replicas.adapter_replica import AdapterReplica, AdapterSlot
from router.replicas.liveness import Liveness, Unwatched
from router.replicas.load_state import LoadState
from router.replicas.pool import Pool, Replica
from router.replicas.probe import Probe
from router.replicas.shared_memory import Lock
from router.replicas.shared_pool import SharedLiveness, SharedPool, SharedReplica
from router.types import ModelStatus
from router.upstream.base import Upstream
from router.upstream.dialects import DIALECTS

log = logging.getLogger("smallfirst.fleet")

PUBLISH_INTERVAL_S = 0.05
"""workers see a change of liveness within 0.1 s"""


class Fleet:
    """Builds one pool per model. `start` and `stop` run the watchers; managed replicas are child processes."""

    def __init__(
        self,
        config: Config,
        upstream: Upstream,
        state_dir: Path,
        progress: Callable[[str], None],
        *,
        workers: int = 1,
        warm_start: bool = True,
    ) -> None:
        self._upstream, self._state_dir, self._progress = upstream, state_dir, progress
        self._warm_start = WarmStart(state_dir) if warm_start else None
        self._gpu_turns = GpuTurns()
        self._watchers: list[Supervisor | Probe | ModelAdapters] = []
        self._published: list[tuple[Supervisor | Probe | AdapterLiveness, SharedLiveness]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._shared: list[SharedPool] = []
        self._earlier_restarts: list[int] = []
        self.pools: dict[str, Pool] = {}
        self.profiles = LearnedProfiles(config.models)
        self._workers = workers
        self._watched: dict[str, list[Supervisor | Probe]] = {}
        for model in without_adapters(config.models):
            load_state = LoadState(workers) if model.name in config.on_demand or model.hours else None
            self._add(model, [other for other in config.models.values() if other.adapter_of == model.name], load_state)
        self._loader = Loader(config, self.pools, self._watched, self._publish)
        self._publish()

    def _add(self, model: Model, adapters: Sequence[Model], load_state: LoadState | None) -> None:
        """Add the pool of a model, and those of its adapters on the same replicas."""
        lock = Lock() if self._workers > 1 else None
        loaders: list[ReplicaAdapters] = []
        slots: list[dict[str, AdapterSlot]] = []
        if adapters:
            of_model = ModelAdapters(model, self._state_dir)
            self._watchers.append(of_model)
            for _ in range(model.replicas):
                slots.append({adapter.name: AdapterSlot(self._workers, lock) for adapter in adapters})
                loaders.append(of_model.replica(slots[-1]))
        watched = list(self._replicas(model, loaders))
        self._watched[model.name] = [one for _, _, one in watched if isinstance(one, Supervisor | Probe)]
        replicas = [self._replica(*one, lock) for one in watched]
        self._add_pool(model, replicas, lock, load_state)
        for adapter in adapters:
            of_adapter: list[Replica] = []
            for replica, (_, _, supervisor), loader, slot in zip(replicas, watched, loaders, slots, strict=True):
                liveness = self._shared_liveness(loader.liveness(adapter.name, supervisor), lock)
                of_adapter.append(AdapterReplica(replica, liveness, slot[adapter.name]))
            self._add_pool(adapter, of_adapter, lock, load_state)

    def _replicas(self, model: Model, adapters: Sequence[ReplicaAdapters]) -> Iterable[tuple[str, str, Liveness]]:
        """Yield the name, URL and liveness of each replica."""
        if model.managed:
            for i, loader in enumerate(adapters or [None] * model.replicas):
                supervisor = Supervisor(
                    model, i, self._state_dir, self._progress, self._warm_start, loader, self._gpu_turns
                )
                self._watchers.append(supervisor)
                yield f"{model.name}/{i}", f"{supervisor.address}:/v1", supervisor
            return
        for i, url in enumerate(model.base_url):
            name = f"{model.name}/{i}"
            health_path = DIALECTS[model.engine].health_path
            if health_path or model.hours:
                root, mark, query = url.partition("?")
                health_url = f"{root.removesuffix('/v1')}{health_path}{mark}{query}" if health_path else None
                probe = Probe(name, health_url, self._upstream, partial(self.profiles.forget, model.name))
                self._watchers.append(probe)
                yield name, url, probe
            else:
                unwatched = Unwatched()
                unwatched.uptime.note(monotonic(), up=True)
                yield name, url, unwatched

    def _replica(self, name: str, url: str, watcher: Liveness, lock: Lock | None) -> Replica:
        if lock is None:
            return Replica(name, url, watcher)
        return SharedReplica(name, url, self._shared_liveness(watcher, lock), lock, self._workers)

    def _shared_liveness(self, watcher: Liveness, lock: Lock | None) -> Liveness:
        """Return the liveness as all processes see it."""
        if lock is None or not isinstance(watcher, Supervisor | Probe | AdapterLiveness):
            return watcher
        shared = SharedLiveness(lock, watcher.uptime, watcher.paid)
        self._published.append((watcher, shared))
        self._earlier_restarts.append(0)
        return shared

    def _add_pool(
        self, model: Model, replicas: Sequence[Replica], lock: Lock | None, load_state: LoadState | None
    ) -> None:
        if lock is None:
            self.pools[model.name] = Pool(model, replicas, load_state)
            return
        pool = SharedPool(model, replicas, lock, load_state)
        self.pools[model.name] = pool
        self._shared.append(pool)

    def start(self) -> None:
        """Start every managed replica and every probe. Returns at once."""
        self._tasks = [asyncio.create_task(watcher.run()) for watcher in self._watchers]
        if self._published:
            # those that were counted by a fleet process that has died
            self._earlier_restarts = [liveness.restarts for _, liveness in self._published]
            self._tasks.append(asyncio.create_task(self._keep_publishing()))
        if self._loader.is_needed:
            self._tasks.append(asyncio.create_task(self._loader.run()))
        for task in self._tasks:
            task.add_done_callback(_report)

    async def stop(self) -> None:
        """Stop all watchers and wait until no process is left. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._warm_start is not None:
            await self._warm_start.stop()

    def statuses(self) -> list[ModelStatus]:
        """Return the current status of every pool."""
        now = monotonic()
        return [self._with_profile(pool.status(now), now) for pool in self.pools.values()]

    def _with_profile(self, status: ModelStatus, now: float) -> ModelStatus:
        learned, misconfigured = self.profiles.lines(status.model, now)
        return replace(status, learned=learned, misconfigured=misconfigured) if learned or misconfigured else status

    def set_worker(self, worker: int) -> None:
        """Set the number of this process's worker, counted from 0."""
        for pool in self._shared:
            pool.set_worker(worker)

    def release_worker(self, worker: int) -> None:
        """Count out the requests that a worker held when it died."""
        for pool in self._shared:
            pool.release_worker(worker, monotonic())

    def mark_down(self) -> None:
        """Publish that the watchers' process died, and the supervised replicas with it."""
        for watcher, liveness in self._published:
            if not isinstance(watcher, Probe):
                restarts = liveness.restarts + isinstance(watcher, Supervisor)
                detail = "restarting: its supervisor stopped"
                liveness.write(up=False, may_answer=False, restarts=restarts, detail=detail)
                watcher.uptime.note(monotonic(), up=False)
                watcher.paid.note(monotonic(), up=False)

    async def _keep_publishing(self) -> None:
        while True:
            self._publish()
            await asyncio.sleep(PUBLISH_INTERVAL_S)

    def _publish(self) -> None:
        for (watcher, liveness), earlier in zip(self._published, self._earlier_restarts, strict=True):
            restarts = earlier + watcher.restarts
            liveness.write(up=watcher.up, may_answer=watcher.may_answer, restarts=restarts, detail=watcher.detail)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a watcher failed: %s", error, exc_info=error)
