"""Asks an attached replica every few seconds whether it lives; costs it no tokens."""

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
FAILURES_TO_FALL = 2


class Probe:
    """Liveness of one attached replica by its health path. Up until it failed twice: the start waits for nobody."""

    def __init__(self, name: str, health_url: str, upstream: Upstream) -> None:
        self.name = name
        self.restarts = 0
        self._url = health_url
        self._upstream = upstream
        self.uptime = Uptime()
        self._failures = 0

    @property
    def up(self) -> bool:
        """Whether it answered, or failed less than twice in a row."""
        return self._failures < FAILURES_TO_FALL

    @property
    def detail(self) -> str:
        """Why not, in one line; empty when up."""
        return "" if self.up else f"{self.name} does not answer its health check"

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            self._note(await self._answers())
            await asyncio.sleep(PERIOD_S if self.up and not self._failures else TIMEOUT_S)

    async def _answers(self) -> bool:
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
        # a server without that path lives all the same
        return exchange.status < 500

    def _note(self, answers: bool) -> None:
        was_up = self.up
        self._failures = 0 if answers else self._failures + 1
        self.uptime.note(monotonic(), up=self.up)
        if was_up != self.up:
            log.warning("%s is %s", self.name, "up again" if self.up else "down: it does not answer its health check")
