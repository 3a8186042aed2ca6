"""CORS: which web pages of other origins may call the server from their visitors' browsers. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from server.http.relay import HEADERS, RawHeaders

ANY = "*"
PREFLIGHT_MAX_AGE_S = 600
"""how long a browser may remember the answer to a preflight"""
_METHODS = b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"  # those not served get a 405 that the page can read
_EXPOSED_NAMES = (
    "x-request-id",
    "openai-processing-ms",
    "openai-version",
    "retry-after",
    "retry-after-ms",
    "x-should-retry",
    *(header.name for header in HEADERS),
)
_EXPOSED = (b"access-control-expose-headers", ", ".join(_EXPOSED_NAMES).encode())


class Cors:
    """The origins whose pages may call the server, and the headers that say so to browsers. Without origins: none.

    Cookies are never allowed, because clients send their keys themselves.
    """

    def __init__(self, origins: Collection[str] = ()) -> None:
        self.is_on = bool(origins)
        self._allows_any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def allows(self, origin: bytes) -> bool:
        """Return whether pages of an origin, the value of the header `Origin`, may call the server."""
        return self._allows_any or origin in self._origins

    def answer_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders:
        """Return the headers for the answer to a request with these headers."""
        allowed = self._allow_origin(dict(headers).get(b"origin"))
        if allowed:
            allowed.append(_EXPOSED)
        if not self._allows_any:
            allowed.append((b"vary", b"Origin"))  # no cache may give one origin the answer for another
        return allowed

    def preflight_headers(self, method: str, headers: Iterable[tuple[bytes, bytes]]) -> RawHeaders | None:
        """Return the further headers of the answer to a preflight, or None if the request is none.

        A preflight has no key, and needs none. For a page that is not allowed they allow nothing.
        """
        values = dict(headers)
        if method != "OPTIONS" or b"origin" not in values or b"access-control-request-method" not in values:
            return None
        if not self.allows(values[b"origin"]):
            return []
        allowed = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", b"%d" % PREFLIGHT_MAX_AGE_S),
            (b"vary", b"Access-Control-Request-Headers"),
        ]
        if asked := values.get(b"access-control-request-headers"):
            allowed.append((b"access-control-allow-headers", asked))  # `*` would not include Authorization
        if values.get(b"access-control-request-private-network") == b"true":  # a public page calls this network
            allowed.append((b"access-control-allow-private-network", b"true"))
        return allowed

    def _allow_origin(self, origin: bytes | None) -> RawHeaders:
        if origin is None or not self.allows(origin):
            return []
        return [(b"access-control-allow-origin", ANY.encode() if self._allows_any else origin)]
