"""The HTTP client for every upstream, on aiohttp: TCP, TLS and Unix sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time

import aiohttp
from yarl import URL

from router.errors import UpstreamFailed, UpstreamTimedOut
from router.upstream.base import MAX_BODY_BYTES
from router.upstream.events import EventDecoder

KEEPALIVE_S = 4  # vLLM closes what was idle for 5 s; a request must not meet that on its way
LONGEST_RETRY_AFTER_S = 3600.0


class HttpExchange:
    """See `Exchange`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._decoder = EventDecoder()
        self.status = response.status
        self.retry_after_s = retry_after(response.headers)

    async def read(self) -> bytes:
        """Return the whole body."""
        body = bytearray()
        try:
            async for chunk in self._response.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise UpstreamFailed(f"the upstream's answer is longer than {MAX_BODY_BYTES} bytes")
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed("the upstream's answer broke off") from error
        return bytes(body)

    async def next_events(self, within_s: float) -> list[bytes]:
        """Return the payloads of the events that come next; empty at the stream's end."""
        try:
            async with asyncio.timeout(within_s):
                while chunk := await self._response.content.readany():
                    if events := self._decoder.feed(chunk):
                        return events
                return self._decoder.finish()
        except TimeoutError:
            raise UpstreamTimedOut("the upstream's stream stood still for too long") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamFailed("the upstream's stream broke off") from error

    def close(self) -> None:
        """Drop the connection unless the answer was read to its end."""
        self._response.close()


class HttpUpstream:
    """See `Upstream`. One session for the network, one for each Unix socket; none limits connections."""

    def __init__(self) -> None:
        self._network: aiohttp.ClientSession | None = None
        self._sockets: dict[str, aiohttp.ClientSession] = {}

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None, connect_s: float
    ) -> HttpExchange:
        """Send a request and wait for the answer's headers."""
        session, target = self._session(url)
        timeout = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=connect_s)
        try:
            response = await session.request(
                method, target, headers=headers, data=body, timeout=timeout, allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UpstreamFailed("the upstream could not be reached", code="upstream_unreachable") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UpstreamFailed("the upstream closed the connection without an answer") from error
        return HttpExchange(response)

    async def close(self) -> None:
        """Close every connection."""
        for session in (self._network, *self._sockets.values()):
            if session is not None:
                await session.close()
        self._network = None
        self._sockets.clear()

    def _session(self, url: str) -> tuple[aiohttp.ClientSession, URL]:
        if url.startswith("unix:"):
            path, _, target = url.removeprefix("unix:").partition(":")
            if path not in self._sockets:
                self._sockets[path] = _new_session(aiohttp.UnixConnector(path, limit=0, keepalive_timeout=KEEPALIVE_S))
            return self._sockets[path], URL(f"http://localhost{target}", encoded=True)
        if self._network is None:
            self._network = _new_session(aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S))
        return self._network, URL(url, encoded=True)


def _new_session(connector: aiohttp.BaseConnector) -> aiohttp.ClientSession:
    # identity: a compressed stream would be held back by the compressor
    return aiohttp.ClientSession(
        connector=connector,
        headers={"Accept-Encoding": "identity", "User-Agent": "smallfirst"},
        cookie_jar=aiohttp.DummyCookieJar(),
    )


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of `retry-after-ms` or `Retry-After` (seconds or a date; RFC 9110, 10.2.3)."""
    try:
        if (milliseconds := headers.get("retry-after-ms")) is not None:
            seconds = float(milliseconds) / 1000
        elif (value := headers.get("Retry-After")) is None:
            return None
        else:
            value = value.strip()
            date = None if value.replace(".", "", 1).isdigit() else parsedate_to_datetime(value)
            seconds = float(value) if date is None else date.timestamp() - time()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S) if seconds == seconds else None  # noqa: PLR0124 - NaN
