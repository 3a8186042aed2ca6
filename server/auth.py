"""Client keys: which requests are allowed."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterable

from pydantic import SecretStr

from router.errors import AuthenticationFailed

RawHeaders = Iterable[tuple[bytes, bytes]]
"""headers as in ASGI: names are in lower case"""

# The whole name has to match: the owner of 127.0.0.1.example can let that name resolve to any address.
_LOOPBACK = re.compile(rb"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?")


class Keyring:
    """The keys that clients may use, stored as digests only. Without any key, every call is allowed, except from pages
    of other origins than `allows_origin` accepts."""

    def __init__(
        self, keys: Iterable[SecretStr], allows_origin: Callable[[bytes], bool] = lambda origin: False
    ) -> None:
        self._allows_origin = allows_origin
        self._digests = tuple(_digest(key.get_secret_value().encode()) for key in keys)

    def check(self, headers: RawHeaders) -> None:
        """Look for a known key in `Authorization: Bearer`, `api-key` (Azure) and `x-api-key` (Anthropic).

        Raises:
            AuthenticationFailed: the request has no known key. If the server has no keys: a page of another site
                sends the request through its visitor's browser (403).
        """
        if not self._digests:
            self._refuse_cross_origin(headers)
            return
        presented = _presented_keys(headers)
        if not presented:
            raise AuthenticationFailed(
                "You did not provide an API key. Send it in a header: `Authorization: Bearer KEY`."
            )
        # All digests have the same length and every pair is compared, so the time reveals nothing about a key.
        matches = [hmac.compare_digest(_digest(key), digest) for key in presented for digest in self._digests]
        if not any(matches):
            raise AuthenticationFailed("Incorrect API key provided.")

    def _refuse_cross_origin(self, headers: RawHeaders) -> None:
        """Refuse cross-origin requests. Without keys, any web page open on this machine could spend money otherwise."""
        values_by_name = dict(headers)
        origin = values_by_name.get(b"origin")
        if origin is None or self._allows_origin(origin):
            return
        host = origin.partition(b"://")[2]
        if host != values_by_name.get(b"host") or not _LOOPBACK.fullmatch(host):
            raise AuthenticationFailed(
                "A page of another site cannot call a server without client keys. Set SMALLFIRST_API_KEYS, "
                "or allow the page's origin with SMALLFIRST_CORS_ORIGINS.",
                code="foreign_origin",
                status=403,
            )


_KEY_HEADERS = frozenset({b"authorization", b"api-key", b"x-api-key"})


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _presented_keys(headers: RawHeaders) -> list[bytes]:
    keys = []
    for name, value in headers:
        if name not in _KEY_HEADERS:
            continue
        if name == b"authorization":
            scheme, _, key = value.strip().partition(b" ")
            if scheme.lower() == b"bearer" and key.strip():
                keys.append(key.strip())
        elif value.strip():
            keys.append(value.strip())
    return keys
