"""What is known of one adapter and of one engine, and what to do next. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from router.adapters.folder import Fingerprint
from router.adapters.version import Version
from router.replicas.adapter_replica import AdapterSlot

ALLOWED_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # values of vLLM's --max-lora-rank
DEFAULT_RANK = 16  # as long as no adapter could be read
MAX_ACTIVE = 8  # adapters in one batch; each takes GPU memory, and the kernels take time for each


@dataclass(slots=True)
class AdapterState:
    """One adapter of a model, the same on every replica."""

    name: str
    folder: Path | None
    """where its content is read; None: it has to be downloaded first"""
    newest: Version | None = None
    """the last content that was complete"""
    serving: Version | None = None
    """the version that requests get"""
    refused: bool = False
    """vLLM refused the newest version"""
    fault: str = ""
    """why the folder has no usable content, for the operator"""
    read: Fingerprint | None = None
    """of the files when they were last read"""
    changing: Fingerprint | None = None
    """of changed files, until they are the same at the next look"""
    versions: dict[int, Version] = field(default_factory=dict)
    """all that are wanted or still loaded somewhere, by their id"""

    @property
    def candidate(self) -> Version | None:
        """Return the version that shall serve as soon as every engine has loaded it."""
        return None if self.refused or self.newest is self.serving else self.newest

    @property
    def wanted(self) -> dict[int, Version]:
        """Return the versions that every engine shall have, by their id."""
        return {version.id: version for version in (self.serving, self.candidate) if version is not None}

    @property
    def detail(self) -> str:
        """Return one line for clients, without paths, or an empty text if the newest content serves."""
        if self.refused and self.newest is not None:
            problem = f"vLLM refused version {self.newest.folder.name} of adapter {self.name}"
        elif self.fault:
            problem = f"the files of adapter {self.name} are not usable"
        else:
            return "" if self.serving else f"adapter {self.name} is not loaded yet"
        kept = f"version {self.serving.folder.name} goes on serving; " if self.serving else ""
        return f"{problem}; {kept}the gateway's log says why"


@dataclass(slots=True)
class EngineState:
    """One engine. `loaded` has the versions of each adapter; times are of the monotonic clock."""

    slots: Mapping[str, AdapterSlot]
    socket: Path | None = None
    """None: it does not run"""
    starts: int = 0
    answers: bool = True
    loaded: defaultdict[str, dict[int, Version]] = field(default_factory=lambda: defaultdict(dict))
    refused: set[tuple[str, int]] = field(default_factory=set)
    switched_at: dict[str, float] = field(default_factory=dict)
    """when the requests for each adapter got another version"""

    @property
    def counts(self) -> bool:
        """Return whether a switch has to wait for it."""
        return self.socket is not None and self.answers

    def start(self, socket: Path) -> None:
        """Begin with a new engine, which has loaded nothing."""
        self.stop()
        self.socket, self.answers = socket, True
        self.starts += 1

    def stop(self) -> None:
        """Forget an engine that has ended."""
        self.socket = None
        self.loaded.clear()
        self.refused.clear()

    def switch(self, adapter: str, version: Version, now: float) -> None:
        """Give new requests for the adapter this version."""
        self.slots[adapter].switch_to(version.id)
        self.switched_at[adapter] = now

    def serves(self, adapter: AdapterState) -> bool:
        """Return whether requests for the adapter may be sent to it."""
        return adapter.serving is not None and adapter.serving.id in self.loaded[adapter.name]


def to_load(adapter: AdapterState, engine: EngineState) -> list[Version]:
    """Return the versions that the engine lacks."""
    have, name = engine.loaded[adapter.name], adapter.name
    return [one for id_, one in adapter.wanted.items() if id_ not in have and (name, id_) not in engine.refused]


def may_switch(adapter: AdapterState, engines: Iterable[EngineState]) -> bool:
    """Return whether every engine that runs has loaded the candidate."""
    running = [engine for engine in engines if engine.counts]
    candidate = adapter.candidate
    if candidate is None or not running:
        return False
    return all(candidate.id in engine.loaded[adapter.name] for engine in running)


def to_unload(adapter: AdapterState, engine: EngineState, now: float, longest_request_s: float) -> list[Version]:
    """Return the versions that no request uses: none has been in flight since the switch, or those of then have ended.

    A request in flight may have begun before the switch. After `longest_request_s` it cannot have.
    """
    name = adapter.name
    if engine.slots[name].in_flight and now - engine.switched_at.get(name, 0.0) < longest_request_s:
        return []
    return [one for id_, one in engine.loaded[name].items() if id_ not in adapter.wanted]


def launch_args(adapters: Iterable[AdapterState], vllm_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return `vllm_args` with the arguments that these adapters need, also while one has two versions."""
    adapters = list(adapters)
    versions = [version for adapter in adapters for version in (adapter.serving, adapter.newest) if version]
    rank = max((version.adapter.rank for version in versions), default=DEFAULT_RANK)
    count = len(adapters) + 1
    active = vllm_args.get("max_loras", min(count, MAX_ACTIVE))
    return {
        "enable_lora": True,
        "max_lora_rank": next((allowed for allowed in ALLOWED_RANKS if allowed >= rank), rank),
        "max_loras": active,
        "max_cpu_loras": max(count, active) if isinstance(active, int) else count,
        **vllm_args,
    }
