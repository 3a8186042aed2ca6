"""The HTTP client for every upstream: HTTP/1.1 on connections of our own, aiohttp for TLS and proxies."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.upstream.base import Exchange
from router.upstream.connection import TICK_S, Connection
from router.upstream.exchange import LATE, HttpExchange
from router.upstream.origin import Address, Origin
from router.upstream.url import Target, parse_url

if TYPE_CHECKING:
    from router.upstream.aiohttp_client import AiohttpClient

IDLE_LONG_S = 1.0
"""A connection that was idle for so long may have been closed by the server for that, just as the request was on its
way. That says nothing of the server, and the request is sent once more. One that dies right after an answer died of
the request, as far as anybody can know."""

AT_ONCE_S = 1.0
"""... and a server that worked on it for longer than this knew of it."""

MAX_URLS = 1000
"""that are remembered; a configuration has a few for each replica"""


class HttpUpstream:
    """See `Upstream`."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[Target, Origin | None]] = {}
        self._origins: dict[Address, Origin] = {}
        self._aiohttp: AiohttpClient | None = None

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
        """Send a request and wait for the answer's headers."""
        try:
            place, origin = self._places.get(url) or self._place(url)
            request = b"" if origin is None else place.request(method, headers, body)
        except ValueError as error:
            raise UpstreamFailed("the request for the upstream is none that can be sent") from error
        if origin is None:
            client = self._aiohttp or await self._start_aiohttp()
            return await client.send(
                method, url, headers=headers, body=body, connect_s=connect_s, within_s=within_s, proxy=place.proxy
            )
        deadline = origin.time() + within_s
        connection, idle_s = origin.take()
        once_more = idle_s > IDLE_LONG_S
        while True:
            if connection is None:
                connection, once_more = await self._connect(origin, connect_s, deadline), False
            asked = origin.time()
            response = connection.ask(request)
            try:
                while not (response.status or response.over):
                    if not await connection.wait(deadline):
                        connection.drop()
                        raise UpstreamTimedOut(LATE)
            except asyncio.CancelledError:
                connection.drop()
                raise
            if response.status:
                return HttpExchange(connection, response, deadline)
            if not (response.silent and once_more and origin.time() - asked < AT_ONCE_S):
                raise UpstreamFailed(response.failure)
            connection = None

    async def _connect(self, origin: Origin, connect_s: float, deadline: float) -> Connection:
        left_s = deadline - origin.time()
        try:
            return await origin.connect(min(connect_s, left_s))
        except UpstreamFailed:
            if origin.time() >= deadline - TICK_S:
                raise UpstreamTimedOut(LATE) from None
            raise

    async def close(self) -> None:
        """Close every connection."""
        for origin in self._origins.values():
            origin.close()
        self._origins.clear()
        self._places.clear()
        client, self._aiohttp = self._aiohttp, None
        if client is not None:
            await client.close()
        await asyncio.sleep(0)  # sockets close in the loop's next round

    def _place(self, url: str) -> tuple[Target, Origin | None]:
        place = parse_url(url)
        origin = None
        if not place.tls and place.proxy is None:
            origin = self._origins.get(place.address)
            if origin is None:
                origin = self._origins[place.address] = Origin(place.address, asyncio.get_running_loop())
        if len(self._places) >= MAX_URLS:
            self._places.clear()
        self._places[url] = place, origin
        return place, origin

    async def _start_aiohttp(self) -> AiohttpClient:
        # its import takes a good part of a second: not at the start, and not on the loop
        module = await asyncio.to_thread(import_module, "router.upstream.aiohttp_client")
        if self._aiohttp is None:
            self._aiohttp = module.AiohttpClient()
        return self._aiohttp
