"""Checks the health path of an attached replica every few seconds. This costs no tokens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.replicas.uptime import Uptime
from router.upstream.base import Upstream

log = logging.getLogger("smallfirst.probe")

PERIOD_S = 5.0
TIMEOUT_S = 2.0
FAILURES_TO_GO_DOWN = 2


class Probe:
    """Liveness of one attached replica. It starts as up, so the gateway's start does not wait for a first check.

    Without a `health_url` only its answers show its health. A model with hours is up only within them (`load`,
    `unload`), and is not asked for its health at other times.
    """

    is_loaded = True
    has_failed = False
    is_preparing = False

    def __init__(
        self, name: str, health_url: str | None, upstream: Upstream, on_return: Callable[[], None] = lambda: None
    ) -> None:
        self.name = name
        self._on_return = on_return
        """is called when it is up again after it was down"""
        self.restarts = 0
        self._url = health_url
        self._upstream = upstream
        self.uptime = Uptime()
        self._failures = 0
        self._is_late = False
        self._closed = ""

    @property
    def paid(self) -> Uptime:
        """Total time up."""
        return self.uptime

    @property
    def up(self) -> bool:
        """Whether fewer than `FAILURES_TO_GO_DOWN` checks in a row have failed, within its hours."""
        return self._failures < FAILURES_TO_GO_DOWN and not self._closed

    @property
    def may_answer(self) -> bool:
        """Whether it is up, or its last check got no answer in time: a busy server may be late and still answer."""
        return self.up or (self._is_late and not self._closed)

    @property
    def detail(self) -> str:
        """The reason why it is down, in one line. Empty when it is up."""
        return "" if self.up else self._closed or f"{self.name} does not answer its health check"

    @property
    def holds_memory(self) -> bool:
        """Whether it runs."""
        return not self._closed

    def load(self) -> None:
        """Begin the hours."""
        self._closed, self._failures = "", 0

    def drain(self, why: str) -> None:
        """Send no new requests. It goes on to be paid."""
        self._closed = why

    def unload(self, why: str) -> None:
        """End the hours."""
        self._closed = why
        self.uptime.note(monotonic(), up=False)

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            if not self._closed:
                self._note(await self._is_healthy())
            await asyncio.sleep(PERIOD_S if not self._failures else TIMEOUT_S)

    async def _is_healthy(self) -> bool:
        if self._url is None:
            return True
        exchange = None
        self._is_late = False
        try:
            exchange = await self._upstream.send(
                "GET", self._url, headers={}, body=None, connect_s=TIMEOUT_S, within_s=TIMEOUT_S
            )
            await exchange.read()
        except UpstreamTimedOut:
            self._is_late = True
            return False
        except UpstreamFailed:
            return False
        finally:
            if exchange is not None:
                exchange.close()
        # a server without this path is healthy, too
        return exchange.status < 500

    def _note(self, healthy: bool) -> None:
        if self._closed:  # its hours ended during the check
            return
        was_up = self.up
        self._failures = 0 if healthy else self._failures + 1
        self.uptime.note(monotonic(), up=self.up)
        if was_up != self.up:
            log.warning("%s is %s", self.name, "up again" if self.up else "down: it does not answer its health check")
            if self.up:
                self._on_return()
