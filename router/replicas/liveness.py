"""Whether a replica runs, as whoever watches it reports."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from router.replicas.uptime import Uptime


class Liveness(Protocol):
    """Reports whether a replica runs. A supervisor or a probe implements it; `Unwatched` assumes that it does."""

    @property
    def up(self) -> bool:
        """Whether requests may be sent."""
        ...

    @property
    def may_answer(self) -> bool:
        """Whether requests may be sent if no other model answers: it is up, or its health check is only late."""
        ...

    @property
    def detail(self) -> str:
        """The reason why it is down, in one line for people. Empty when it is up."""
        ...

    @property
    def restarts(self) -> int:
        """Number of restarts."""
        ...

    @property
    def uptime(self) -> Uptime:
        """Total time for which it was up."""
        ...

    @property
    def paid(self) -> Uptime:
        """Total time for which it is paid, if its price is by the hour."""
        ...


@dataclass(frozen=True, slots=True)
class Unwatched:
    """Liveness of an upstream without a health check: only its answers show its health."""

    up: bool = True
    detail: str = ""
    restarts: int = 0
    uptime: Uptime = field(default_factory=Uptime)

    @property
    def may_answer(self) -> bool:
        """Whether it is up."""
        return self.up

    @property
    def paid(self) -> Uptime:
        """Total time up."""
        return self.uptime
