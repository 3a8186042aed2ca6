"""The HTTP client for every upstream. Plain HTTP/1.1 uses our own connections; TLS and proxies use aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.upstream.base import Exchange
from router.upstream.connection import CLOCK_RESOLUTION_S, Connection
from router.upstream.exchange import TIMEOUT_MESSAGE, HttpExchange
from router.upstream.origin import Address, Origin
from router.upstream.url import Target, parse_url

if TYPE_CHECKING:
    from router.upstream.aiohttp_client import AiohttpClient

MIN_IDLE_TO_RETRY_S = 1.0
"""The server may close a connection that was idle this long while a request is on its way. Such a request is sent once
more, as its failure says nothing about the server. If the connection was used more recently, the request itself may
have caused the failure, and it is not sent again."""

MAX_ELAPSED_TO_RETRY_S = 1.0
"""A server that worked on a request for longer than this has received it. The request is not sent again."""

MAX_CACHED_URLS = 1000
"""The cache of parsed URLs is cleared at this size. A configuration has a few URLs for each replica."""


class HttpUpstream:
    """Implements `Upstream`."""

    def __init__(self) -> None:
        self._targets: dict[str, tuple[Target, Origin | None]] = {}
        self._origins: dict[Address, Origin] = {}
        self._aiohttp: dict[str | None, AiohttpClient] = {}  # by proxy

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        connect_s: float,
        within_s: float,
    ) -> Exchange:
        """Send a request and wait for the response headers."""
        try:
            target, origin = self._targets.get(url) or self._resolve(url)
            request = b"" if origin is None else target.encode_request(method, headers, body)
        except ValueError as error:
            raise UpstreamFailed("could not build a valid upstream request") from error
        if origin is None:
            client = self._aiohttp.get(target.proxy) or await self._start_aiohttp(target.proxy)
            return await client.send(method, url, headers=headers, body=body, connect_s=connect_s, within_s=within_s)
        deadline = origin.time() + within_s
        connection, idle_s = origin.take_idle()
        may_retry = idle_s > MIN_IDLE_TO_RETRY_S
        while True:
            if connection is None:
                connection, may_retry = await self._connect(origin, connect_s, deadline), False
            sent_at = origin.time()
            response = connection.send_request(request)
            try:
                while not (response.status or response.over):
                    if not await connection.wait(deadline):
                        connection.drop()
                        raise UpstreamTimedOut(TIMEOUT_MESSAGE)
            except asyncio.CancelledError:
                connection.drop()
                raise
            if response.status:
                return HttpExchange(connection, response, deadline)
            if not (response.is_empty and may_retry and origin.time() - sent_at < MAX_ELAPSED_TO_RETRY_S):
                raise UpstreamFailed(response.failure)
            connection = None

    async def _connect(self, origin: Origin, connect_s: float, deadline: float) -> Connection:
        left_s = deadline - origin.time()
        try:
            return await origin.connect(min(connect_s, left_s))
        except UpstreamFailed:
            if origin.time() >= deadline - CLOCK_RESOLUTION_S:
                raise UpstreamTimedOut(TIMEOUT_MESSAGE) from None
            raise

    async def close(self) -> None:
        """Close every connection."""
        for origin in self._origins.values():
            origin.close()
        self._origins.clear()
        self._targets.clear()
        clients, self._aiohttp = self._aiohttp, {}
        for client in clients.values():
            await client.close()
        await asyncio.sleep(0)  # sockets are closed in the loop's next iteration

    def _resolve(self, url: str) -> tuple[Target, Origin | None]:
        target = parse_url(url)
        origin = None
        if not target.tls and target.proxy is None:
            origin = self._origins.get(target.address)
            if origin is None:
                origin = self._origins[target.address] = Origin(target.address, asyncio.get_running_loop())
        if len(self._targets) >= MAX_CACHED_URLS:
            self._targets.clear()
        self._targets[url] = target, origin
        return target, origin

    async def _start_aiohttp(self, proxy: str | None) -> AiohttpClient:
        # The import takes a good part of a second. Do it on first use, in a thread, to keep the loop free.
        module = await asyncio.to_thread(import_module, "router.upstream.aiohttp_client")
        client = self._aiohttp.get(proxy)
        if client is None:
            client = self._aiohttp[proxy] = module.AiohttpClient(proxy)
        return client
