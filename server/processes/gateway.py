"""What the gateway's processes run: one process does everything, or workers serve and one process runs the fleet."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
from socket import socket

import uvicorn
import uvloop

from router.config.models import Config
from server.app import create_app
from server.http.protocol import LimitedHttpProtocol
from server.observability.metrics import ADMISSION
from server.processes.resources import Resources
from server.settings import Settings

log = logging.getLogger("smallfirst.gateway")

FAREWELL_S = 2.0
"""time after the grace period in which the requests that are cut off send their error to the client"""


class _GatewayServer(uvicorn.Server):
    """A uvicorn server that also stops, as on SIGTERM, when the pipe `parent_alive` ends.

    Requests that still run `grace_s` seconds later are cut off. uvicorn would do that too, but it would not wait until
    their error has been sent.
    """

    grace_s: float
    parent_alive: int | None = None

    async def serve(self, sockets: list[socket] | None = None) -> None:
        """Serve until a signal or the end of the pipe."""
        if self.parent_alive is not None:
            asyncio.get_running_loop().add_reader(self.parent_alive, self._stop, self.parent_alive)
        await super().serve(sockets)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Wait until all requests have ended, in time or cut off."""
        timer = asyncio.get_running_loop().call_later(self.grace_s, self._cut_off)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def _cut_off(self) -> None:
        if tasks := self.server_state.tasks:
            log.warning("%d requests still run %g s after the stop signal: cut off", len(tasks), self.grace_s)
        for task in tasks:
            task.cancel()

    def _stop(self, parent_alive: int) -> None:
        asyncio.get_running_loop().remove_reader(parent_alive)
        self.should_exit = True


class Gateway:
    """The roles of the processes, built once before any fork; see `server.processes.workers.ProcessRoles`."""

    def __init__(self, config: Config, settings: Settings, resources: Resources) -> None:
        self._config, self._settings, self._resources = config, settings, resources

    def serve(self, worker: int, listener: socket, parent_alive: int | None = None) -> int:
        """Serve until a signal or the end of the pipe. Return the exit status."""
        self._resources.fleet.set_worker(worker)
        server = _GatewayServer(
            uvicorn.Config(
                create_app(self._config, self._settings, self._resources, worker),
                loop="uvloop",
                http=LimitedHttpProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=math.ceil(self._settings.shutdown_grace_s + FAREWELL_S),
            )
        )
        server.grace_s = self._settings.shutdown_grace_s
        server.parent_alive = parent_alive
        tune_garbage_collector()
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # under nohup it is ignored, and stays ignored
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        server.run(sockets=[listener])
        return 0 if server.started else 1

    def run_fleet(self, gateway_alive: int, *, restarted: bool) -> int:
        """Run the fleet until the parent and all workers have ended. Return the exit status."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run_fleet(gateway_alive, announce_ready=not restarted))
        return 0

    def release_worker(self, worker: int) -> None:
        """Remove a dead worker's requests from the shared state."""
        self._resources.fleet.release_worker(worker)
        self._resources.worker_counters[worker].clear(ADMISSION)

    def mark_down(self) -> None:
        """Mark the replicas of a dead fleet process as down."""
        self._resources.fleet.mark_down()

    async def _run_fleet(self, gateway_alive: int, *, announce_ready: bool) -> None:
        gateway_ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(gateway_alive, gateway_ended.set)
        try:
            async with self._resources.running_fleet(announce_ready=announce_ready):
                await gateway_ended.wait()
                asyncio.get_running_loop().remove_reader(gateway_alive)
        finally:
            await self._resources.upstream.close()


def tune_garbage_collector() -> None:
    """Exclude all objects of the start-up from garbage collection, and collect less often.

    A full collection of them takes tens of milliseconds, during which no request is served. Requests create next to
    no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
