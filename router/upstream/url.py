"""What a URL means to the client: whom to connect to, and what a request for it begins with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from router.upstream.origin import Address


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, read once."""

    address: Address
    begin: str
    """the request line without its method, and the headers that every request has"""
    tls: bool = False
    proxy: str | None = None

    def request(self, method: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        """Return all that is to be sent.

        Raises:
            ValueError: a header's value would end its line.
        """
        named = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        if named.count("\r") != len(headers) or named.count("\n") != len(headers) or "\0" in named:
            raise ValueError("a line end or a NUL in a header")
        if body is None and method == "GET":
            return f"{method}{self.begin}{named}\r\n".encode()
        body = body or b""
        return f"{method}{self.begin}{named}Content-Length: {len(body)}\r\n\r\n".encode() + body


def parse_url(url: str) -> Target:
    """Read http://host:port/path, https://... or unix:/socket:/path. The path is sent as it is written.

    Raises:
        ValueError: it is no such URL.
    """
    if url.startswith("unix:"):
        address, _, path = url.removeprefix("unix:").rpartition(":/")
        if not address:
            raise ValueError("expected unix:/socket:/path")
        return Target(address, _begin("/" + path, "localhost"))
    parts = urlsplit(url)
    host = parts.hostname
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("expected a URL such as http://host:8000/v1")
    tls = parts.scheme == "https"
    default = 443 if tls else 80
    port = parts.port or default
    named = (f"[{host}]" if ":" in host else host) + ("" if port == default else f":{port}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target((host, port), _begin(path, named), tls, _proxy(parts.scheme, host, port))


def _begin(path: str, host: str) -> str:
    if not re.fullmatch(r"[!-~]+", path + host):
        raise ValueError("a URL has visible ASCII characters only")
    # identity: a compressed stream would be held back by the compressor
    return f" {path} HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nAccept-Encoding: identity\r\nUser-Agent: smallfirst\r\n"


def _proxy(scheme: str, host: str, port: int) -> str | None:
    """Return the proxy that the environment names for this server."""
    proxy = getproxies().get(scheme)
    if not proxy or _loopback(host) or proxy_bypass(host if ":" in host else f"{host}:{port}"):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
