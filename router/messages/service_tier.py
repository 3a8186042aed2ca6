"""The service tier that a request asks for, or in which an upstream served it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def service_tier_of(body: Mapping[str, Any]) -> str:
    """Return the `service_tier` of a request, an answer or an event of a stream; empty if it names none."""
    tier = body.get("service_tier")
    return tier if isinstance(tier, str) else ""
