"""The client for TLS and proxies, on aiohttp. It is imported on first use, as that takes a good part of a second."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp
from yarl import URL

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.upstream.base import MAX_BODY_BYTES
from router.upstream.events import EventDecoder
from router.upstream.exchange import EVENT_STREAM, TIMEOUT_MESSAGE
from router.upstream.origin import KEEPALIVE_S
from router.upstream.retry_after import retry_after


class AiohttpExchange:
    """Implements `Exchange`."""

    def __init__(self, response: aiohttp.ClientResponse, deadline: float) -> None:
        self._response = response
        self._deadline = deadline
        self._decoder = EventDecoder()
        self.status = response.status
        self.retry_after_s = retry_after(response.headers)
        self.is_stream = response.headers.get("content-type", "").lower().startswith(EVENT_STREAM)

    async def read(self) -> bytes:
        """Return the whole body."""
        body = bytearray()
        try:
            async with asyncio.timeout_at(self._deadline):
                async for chunk in self._response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise UpstreamFailed(f"the upstream's response is longer than {MAX_BODY_BYTES} bytes")
        except TimeoutError:
            raise UpstreamTimedOut(TIMEOUT_MESSAGE) from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed("the upstream's response was cut off") from error
        return bytes(body)

    async def next_events(self, within_s: float) -> list[bytes]:
        """Return the payloads of the next events, or an empty list at the end of the stream."""
        try:
            async with asyncio.timeout(within_s):
                while chunk := await self._response.content.readany():
                    if events := self._decoder.feed(chunk):
                        return events
                return self._decoder.finish()
        except TimeoutError:
            raise UpstreamTimedOut("the upstream's stream sent nothing in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed("the upstream's stream was cut off") from error

    def close(self) -> None:
        """Drop the connection unless the response was read to its end."""
        self._response.close()


class AiohttpClient:
    """One aiohttp session, for one proxy or none. Its connections have no limit."""

    def __init__(self, proxy: str | None = None) -> None:
        self._proxy = proxy
        # identity: a compressor would delay the events of a stream
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S),
            headers={"Accept-Encoding": "identity", "User-Agent": "smallfirst"},
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        connect_s: float,
        within_s: float,
    ) -> AiohttpExchange:
        """Send a request and wait for the response headers."""
        timeout = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=connect_s)
        deadline = asyncio.get_running_loop().time() + within_s
        try:
            async with asyncio.timeout_at(deadline) as limit:
                response = await self._session.request(
                    method,
                    URL(url, encoded=True),
                    headers=headers,
                    data=body,
                    timeout=timeout,
                    allow_redirects=False,
                    proxy=self._proxy,
                )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UpstreamFailed("the upstream could not be reached", code="upstream_unreachable") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if limit.expired():
                raise UpstreamTimedOut(TIMEOUT_MESSAGE) from None
            raise UpstreamFailed("the upstream closed the connection without a response") from error
        return AiohttpExchange(response, deadline)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
