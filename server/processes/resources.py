"""What the endpoints use. It is built once, before any worker is forked, so nothing in it is running yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from router.config.models import Config
from router.conversations import Conversations
from router.fleet import Fleet
from router.policy.route_policies import RoutePolicies
from router.upstream.http import HttpUpstream
from server.endpoints.models import ModelList
from server.http.body_memory import max_body_bytes
from server.observability.shared_counters import SharedCounters
from server.processes.banner import announce_when_ready
from server.settings import Settings


class Resources:
    """The client for upstreams, the fleet, the policies, the list of models, and what all workers share.

    `url` is the address for clients. `progress` prints a line for the person who started the gateway.

    Raises:
        ConfigError: a route's evidence is not usable.
    """

    def __init__(self, config: Config, settings: Settings, *, url: str, progress: Callable[[str], None]) -> None:
        self.upstream = HttpUpstream()
        self.fleet = Fleet(
            config,
            self.upstream,
            settings.state_dir,
            progress,
            workers=settings.workers,
            warm_start=settings.warm_start,
        )
        self.policies = RoutePolicies(config)
        self.conversations = Conversations(settings.workers)
        self.models = ModelList(config)
        self.worker_counters = tuple(SharedCounters() for _ in range(settings.workers))
        self._config, self._keys = config, bool(settings.api_keys)
        self._max_body_bytes = max_body_bytes(settings.max_body_bytes, config)
        self._url, self._progress = url, progress

    @asynccontextmanager
    async def running_fleet(self, *, announce_ready: bool = True) -> AsyncIterator[None]:
        """Run the fleet. With `announce_ready`, print the banner when a route can answer."""
        self.fleet.start()
        announcement = asyncio.create_task(self._announce_ready()) if announce_ready else None
        try:
            yield
        finally:
            if announcement is not None:
                announcement.cancel()
            await self.fleet.stop()

    async def _announce_ready(self) -> None:
        await announce_when_ready(
            self._config,
            self.fleet.statuses,
            self._url,
            keys=self._keys,
            max_body_bytes=self._max_body_bytes,
            show=self._progress,
        )
