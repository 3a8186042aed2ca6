"""Parses a URL into the address to connect to and the fixed beginning of its requests."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies

from router.upstream.no_proxy import is_exempt
from router.upstream.origin import Address


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL."""

    address: Address
    request_prefix: str
    """The request line without its method, and the headers common to all requests."""
    tls: bool = False
    proxy: str | None = None

    def encode_request(self, method: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        """Return the bytes of a whole request.

        Raises:
            ValueError: a header contains a line end or a NUL.
        """
        header_lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if header_lines.count("\r") != len(headers) or header_lines.count("\n") != len(headers) or "\0" in header_lines:
            raise ValueError("a header contains a line end or a NUL")
        if body is None and method == "GET":
            return f"{method}{self.request_prefix}{header_lines}\r\n".encode()
        body = body or b""
        return f"{method}{self.request_prefix}{header_lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


@lru_cache(1024)
def endpoint_url(root: str, path: str) -> str:
    """Return the URL of an endpoint of an API. A query of the root, such as Azure's `?api-version=...`, comes last."""
    if "?" not in root or root.startswith("unix:"):
        return f"{root}/{path}"
    root, _, query = root.partition("?")
    return f"{root}/{path}?{query}"


def parse_url(url: str) -> Target:
    """Parse http://host:port/path, https://... or unix:/socket:/path. The path is sent unchanged.

    Raises:
        ValueError: the URL is invalid.
    """
    if url.startswith("unix:"):
        address, _, path = url.removeprefix("unix:").rpartition(":/")
        if not address:
            raise ValueError("expected unix:/socket:/path")
        return Target(address, _request_prefix("/" + path, "localhost"))
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("expected a URL such as http://host:8000/v1")
    tls = parts.scheme == "https"
    default = 443 if tls else 80
    port = parts.port or default
    host_header = (f"[{host}]" if ":" in host else host) + ("" if port == default else f":{port}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target((host, port), _request_prefix(path, host_header), tls, _proxy_for(parts.scheme, host, port))


def _request_prefix(path: str, host: str) -> str:
    if not re.fullmatch(r"[!-~]+", path + host):
        raise ValueError("a URL may contain visible ASCII characters only")
    # identity: a compressor would delay the events of a stream
    return f" {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: smallfirst\r\n"


def _proxy_for(scheme: str, host: str, port: int) -> str | None:
    """Return the proxy that the environment sets for this server, if any."""
    proxies = getproxies()
    proxy = proxies.get(scheme)
    if not proxy or _is_loopback(host) or is_exempt(proxies.get("no", ""), host, port):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
