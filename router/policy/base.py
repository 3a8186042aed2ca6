"""A policy chooses where a call starts. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from router.config.models import Rung
from router.types import ChatCall, Decision

NO_LATENCIES: Mapping[str, float] = MappingProxyType({})


class Policy(Protocol):
    """Chooses where on a route's ladder a call starts."""

    def decide(self, call: ChatCall, rungs: Sequence[Rung], waits: Mapping[str, float] = NO_LATENCIES) -> Decision:
        """Return the rung to start at, one of `rungs`, and why; `waits` are seconds until a model answered lately."""
        ...
