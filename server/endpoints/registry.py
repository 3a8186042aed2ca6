"""The registry of the endpoints that send requests to models.

An endpoint is one file of this folder: the router's `Endpoint` object and the request's type, registered together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from router.types import Endpoint
from server.endpoints.schemas import ModelRequest


def _no_rules(body: Mapping[str, Any]) -> None:
    """Accept every body that matches the request type."""


class TextEndpoint(NamedTuple):
    """One endpoint with its request type and its rules."""

    endpoint: Endpoint
    request: type[ModelRequest]
    """the type that validates requests; its fields are shown in /docs"""
    summary: str
    """the title in /docs"""
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
    """Register an endpoint, so that it is served.

    Raises:
        ValueError: another endpoint has its path.
    """
    if endpoint.path in _endpoints:
        raise ValueError(f"two endpoints have the path {endpoint.path}")
    _endpoints[endpoint.path] = endpoint
    return endpoint


def unregister(endpoint: TextEndpoint) -> None:
    """Remove a registered endpoint; for tests."""
    _endpoints.pop(endpoint.path, None)
