"""What the processes of the gateway do: one does all, or each worker serves and the fleet watches the replicas."""

from __future__ import annotations

import asyncio
import gc
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


class _GatewayServer(uvicorn.Server):
    """Also stops, as on SIGTERM, when the pipe `parent_alive` ends."""

    parent_alive: int | None = None

    async def serve(self, sockets: list[socket] | None = None) -> None:
        """Serve until told to stop."""
        if self.parent_alive is not None:
            asyncio.get_running_loop().add_reader(self.parent_alive, self._stop, self.parent_alive)
        await super().serve(sockets)

    def _stop(self, parent_alive: int) -> None:
        asyncio.get_running_loop().remove_reader(parent_alive)
        self.should_exit = True


class Gateway:
    """Composed once, before any fork; see `server.processes.workers.ProcessRoles`."""

    def __init__(self, config: Config, settings: Settings, resources: Resources) -> None:
        self._config, self._settings, self._resources = config, settings, resources

    def serve(self, worker: int, listener: socket, parent_alive: int | None = None) -> int:
        """Serve until told to stop; return the exit status."""
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
                timeout_graceful_shutdown=max(1, round(self._settings.shutdown_grace_s)),
            )
        )
        server.parent_alive = parent_alive
        tune_garbage_collector()
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # not where nohup says that a hang-up is nothing
            signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
        server.run(sockets=[listener])
        return 0 if server.started else 1

    def run_fleet(self, gateway_alive: int, *, restarted: bool) -> int:
        """Run the fleet until nobody is left to be served; return the exit status."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run_fleet(gateway_alive, announce_ready=not restarted))
        return 0

    def release_worker(self, worker: int) -> None:
        """Take a dead worker's requests out of what all share."""
        self._resources.fleet.release_worker(worker)
        self._resources.worker_counters[worker].clear(ADMISSION)

    def mark_down(self) -> None:
        """Say that what a dead fleet supervised is down."""
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
    """Let the garbage collector pass over all that was made at the start, and come less often.

    A full collection of it takes tens of milliseconds, during which nobody is served. Requests make next to no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
