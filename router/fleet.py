"""Everything that runs behind one configuration: the pools, and who watches or supervises their replicas.

With several workers the fleet is made before they are forked. Its watchers run in a process of their own, which
posts what they see; every process has the pools.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic

from router.config.models import Config, Model
from router.engine.supervisor import Supervisor
from router.replicas.pool import Liveness, Pool, Replica, Unwatched
from router.replicas.probe import Probe
from router.replicas.shared_memory import Lock
from router.replicas.shared_pool import SharedLiveness, SharedPool, SharedReplica
from router.types import ModelStatus
from router.upstream.base import Upstream
from router.upstream.dialects import DIALECTS

log = logging.getLogger("smallfirst.fleet")

PUBLISH_EVERY_S = 0.05
"""so a worker knows what a watcher saw within 0.1 s"""


class Fleet:
    """Builds one pool a model; `start` and `stop` its watchers. Managed replicas are processes of ours."""

    def __init__(
        self,
        config: Config,
        upstream: Upstream,
        state_dir: Path,
        progress: Callable[[str], None],
        *,
        workers: int = 1,
    ) -> None:
        self._upstream, self._state_dir, self._progress = upstream, state_dir, progress
        self._watchers: list[Supervisor | Probe] = []
        self._published: list[tuple[Supervisor | Probe, SharedLiveness]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._shared: list[SharedPool] = []
        self.pools: dict[str, Pool] = {}
        for name, model in config.models.items():
            replicas = list(self._replicas(model))
            if workers == 1:
                self.pools[name] = Pool(model, [Replica(*replica) for replica in replicas])
            else:
                self.pools[name] = self._share(model, replicas, workers)

    def _replicas(self, model: Model) -> Iterable[tuple[str, str, Liveness]]:
        """Yield each replica's name, its URL, and who watches it."""
        if model.managed:
            for i in range(model.replicas):
                supervisor = Supervisor(model, i, self._state_dir, self._progress)
                self._watchers.append(supervisor)
                yield f"{model.name}/{i}", f"{supervisor.address}:/v1", supervisor
            return
        for i, url in enumerate(model.base_url):
            name = f"{model.name}/{i}"
            if health_path := DIALECTS[model.engine].health_path:
                probe = Probe(name, url.removesuffix("/v1") + health_path, self._upstream)
                self._watchers.append(probe)
                yield name, url, probe
            else:
                unwatched = Unwatched()
                unwatched.uptime.note(monotonic(), up=True)
                yield name, url, unwatched

    def _share(self, model: Model, replicas: Iterable[tuple[str, str, Liveness]], workers: int) -> SharedPool:
        lock = Lock()
        shared = []
        for name, url, watched_by in replicas:
            liveness = watched_by
            if isinstance(watched_by, Supervisor | Probe):
                liveness = SharedLiveness(lock, watched_by.uptime)
                self._published.append((watched_by, liveness))
            shared.append(SharedReplica(name, url, liveness, lock, workers))
        self._publish([0] * len(self._published))
        pool = SharedPool(model, shared, lock)
        self._shared.append(pool)
        return pool

    def start(self) -> None:
        """Start every managed replica and every probe; returns at once."""
        self._tasks = [asyncio.create_task(watcher.run()) for watcher in self._watchers]
        if self._published:
            self._tasks.append(asyncio.create_task(self._keep_publishing()))
        for task in self._tasks:
            task.add_done_callback(_report)

    async def stop(self) -> None:
        """Stop them all and wait until no process is left. Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def statuses(self) -> list[ModelStatus]:
        """Return what every pool looks like now."""
        return [pool.status(monotonic()) for pool in self.pools.values()]

    def set_worker(self, worker: int) -> None:
        """Say which worker this process is, counted from 0."""
        for pool in self._shared:
            pool.set_worker(worker)

    def release_worker(self, worker: int) -> None:
        """Take out what a worker held when it died."""
        for pool in self._shared:
            pool.release_worker(worker, monotonic())

    def mark_down(self) -> None:
        """Post that the watchers have died, and with them the replicas that they supervised."""
        for watcher, post in self._published:
            if isinstance(watcher, Supervisor):
                post.write(up=False, restarts=post.restarts + 1, detail="restarting: its supervisor ended")
                watcher.uptime.note(monotonic(), up=False)

    async def _keep_publishing(self) -> None:
        before = [post.restarts for _, post in self._published]  # of watchers that have died
        while True:
            self._publish(before)
            await asyncio.sleep(PUBLISH_EVERY_S)

    def _publish(self, before: Sequence[int]) -> None:
        for (watcher, post), earlier in zip(self._published, before, strict=True):
            post.write(up=watcher.up, restarts=earlier + watcher.restarts, detail=watcher.detail)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a watcher ended: %s", error, exc_info=error)
