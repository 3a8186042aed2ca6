"""The two targets that are compared: vLLM itself, and the gateway in front of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.common.gateway import Servers
from benchmarks.common.load import Endpoint
from benchmarks.common.servers import CHAT, address

TargetName = Literal["direct", "gateway"]


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go. The roots are `http://host:port` or `unix:/path`, each a server of the same model."""

    name: TargetName
    roots: tuple[str, ...]
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)
    pids: tuple[int, ...] = ()
    """the gateway's processes, if their CPU time can be read"""
    tree: int | None = None
    """the process below which the gateway and its vLLM run, if the benchmark started them"""

    def endpoints(self) -> list[Endpoint]:
        """Return the chat endpoint of each server."""
        return [Endpoint(address(root, CHAT), self.headers) for root in self.roots]


def targets(servers: Servers, headers: Mapping[str, str] = {}) -> tuple[Target, Target]:
    """Return the direct target and the gateway, which gets these headers."""
    started = servers.started
    pids, tree = (started.pids, started.tree) if started else ((), None)
    return (
        Target("direct", servers.engines, servers.model),
        Target("gateway", (servers.gateway,), servers.model, headers, pids, tree),
    )
