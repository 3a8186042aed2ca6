"""Checks the health path of an attached replica every few seconds. This costs no tokens."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.replicas.uptime import Uptime
from router.upstream.base import Upstream

log = logging.getLogger("smallfirst.probe")

PERIOD_S = 5.0
TIMEOUT_S = 2.0
FAILURES_TO_GO_DOWN = 2


class Probe:
    """Liveness of one attached replica. It starts as up, so the gateway's start does not wait for a first check."""

    def __init__(self, name: str, health_url: str, upstream: Upstream) -> None:
        self.name = name
        self.restarts = 0
        self._url = health_url
        self._upstream = upstream
        self.uptime = Uptime()
        self._failures = 0

    @property
    def up(self) -> bool:
        """Whether fewer than `FAILURES_TO_GO_DOWN` checks in a row have failed."""
        return self._failures < FAILURES_TO_GO_DOWN

    @property
    def detail(self) -> str:
        """The reason why it is down, in one line. Empty when it is up."""
        return "" if self.up else f"{self.name} does not answer its health check"

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            self._note(await self._is_healthy())
            await asyncio.sleep(PERIOD_S if self.up and not self._failures else TIMEOUT_S)

    async def _is_healthy(self) -> bool:
        exchange = None
        try:
            exchange = await self._upstream.send(
                "GET", self._url, headers={}, body=None, connect_s=TIMEOUT_S, within_s=TIMEOUT_S
            )
            await exchange.read()
        except (UpstreamFailed, UpstreamTimedOut):
            return False
        finally:
            if exchange is not None:
                exchange.close()
        # a server without this path is healthy, too
        return exchange.status < 500

    def _note(self, healthy: bool) -> None:
        was_up = self.up
        self._failures = 0 if healthy else self._failures + 1
        self.uptime.note(monotonic(), up=self.up)
        if was_up != self.up:
            log.warning("%s is %s", self.name, "up again" if self.up else "down: it does not answer its health check")
