"""The endpoints that take a request to a model: which there are, and what each accepts.

An endpoint is one file of this folder: the router's `Endpoint` object and the request's type, registered together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from router.types import Endpoint
from server.endpoints.schemas import ModelRequest


def _no_rules(body: Mapping[str, Any]) -> None:
    """Accept every body that fits the request's type."""


class TextEndpoint(NamedTuple):
    """One endpoint as it is served."""

    endpoint: Endpoint
    request: type[ModelRequest]
    """its fields are validated and shown in /docs"""
    summary: str
    """for /docs"""
    rules: Callable[[Mapping[str, Any]], None] = _no_rules
    """raises BadRequest if fields contradict each other"""

    @property
    def path(self) -> str:
        """Return the path that clients call."""
        return f"/v1/{self.endpoint.path}"


_endpoints: dict[str, TextEndpoint] = {}
ENDPOINTS: Mapping[str, TextEndpoint] = MappingProxyType(_endpoints)
"""by path"""


def register(endpoint: TextEndpoint) -> TextEndpoint:
    """Serve an endpoint from now on.

    Raises:
        ValueError: another endpoint has its path.
    """
    if endpoint.path in _endpoints:
        raise ValueError(f"two endpoints have the path {endpoint.path}")
    _endpoints[endpoint.path] = endpoint
    return endpoint


def unregister(endpoint: TextEndpoint) -> None:
    """Forget an endpoint, for tests that register one."""
    _endpoints.pop(endpoint.path, None)
