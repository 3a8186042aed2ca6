"""Everything that runs behind one configuration: the pools, and who watches or supervises their replicas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from time import monotonic

from router.config import Config, Model
from router.engine.supervisor import Supervisor
from router.pool import Pool, Replica, Unwatched
from router.probe import Probe
from router.types import ModelStatus
from router.upstream.base import Upstream

log = logging.getLogger("smallfirst.fleet")


class Fleet:
    """Builds one pool a model; `start` and `stop` its watchers. Managed replicas are processes of ours."""

    def __init__(self, config: Config, upstream: Upstream, state_dir: Path, progress: Callable[[str], None]) -> None:
        self._watchers: list[Supervisor | Probe] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.pools = {
            name: Pool(model, list(self._replicas(model, upstream, state_dir, progress)))
            for name, model in config.models.items()
        }

    def _replicas(
        self, model: Model, upstream: Upstream, state_dir: Path, progress: Callable[[str], None]
    ) -> Iterable[Replica]:
        if model.managed:
            for i in range(model.replicas):
                supervisor = Supervisor(model, i, state_dir, progress)
                self._watchers.append(supervisor)
                yield Replica(f"{model.name}/{i}", f"{supervisor.address}:/v1", supervisor)
            return
        for i, url in enumerate(model.base_url):
            name = f"{model.name}/{i}"
            if model.engine == "vllm":
                probe = Probe(name, url, upstream)
                self._watchers.append(probe)
                yield Replica(name, url, probe)
            else:
                yield Replica(name, url, Unwatched())

    def start(self) -> None:
        """Start every managed replica and every probe; returns at once."""
        self._tasks = [asyncio.create_task(watcher.run()) for watcher in self._watchers]
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


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("a watcher ended: %s", error, exc_info=error)
