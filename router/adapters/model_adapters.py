"""Keeps the adapters of one managed model loaded on all of its replicas, and replaces those whose files change."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from router.adapters.engine_calls import AdapterRefused, load_adapter, unload_adapter
from router.adapters.folder import fingerprint
from router.adapters.state import (
    AdapterState,
    EngineState,
    launch_args,
    may_switch,
    to_load,
    to_unload,
)
from router.adapters.version import Version, copy_version, remove_unused
from router.config.models import Model
from router.engine.source import HubModel, LocalPath, fetch, parse_source
from router.errors import EngineError
from router.replicas.adapter_replica import AdapterSlot, name_at_engine
from router.replicas.liveness import Liveness
from router.replicas.uptime import Uptime

LOOK_INTERVAL_S = 2.0
FETCH_RETRY_S = 60.0
UNLOAD_MARGIN_S = 5.0  # after the longest time that a request may take

log = logging.getLogger("smallfirst.adapters")


class ModelAdapters:
    """The adapters of one model.

    A new version is loaded on every replica beside the old one. When all have it, requests switch to it at once. The
    old one is unloaded when none of its requests is left. A version that vLLM refuses changes nothing.
    """

    def __init__(self, model: Model, state_dir: Path) -> None:
        self._model = model
        self._state_dir = state_dir
        self._engines: list[EngineState] = []
        self._lock = asyncio.Lock()
        self._fetching = asyncio.Lock()  # not the other lock: no engine that runs shall wait for a download
        self._fetch_after = 0.0  # above 0 after a download that failed
        self._adapters = []
        for name, source in model.adapters.items():
            parsed = parse_source(source, f"{model.where}.adapters.{name}")
            folder = parsed.path if isinstance(parsed, LocalPath) else None
            self._adapters.append(AdapterState(name, folder))

    def replica(self, slots: Mapping[str, AdapterSlot]) -> ReplicaAdapters:
        """Add a replica. `slots`: where its processes read the version of each adapter."""
        engine = EngineState(slots)
        self._engines.append(engine)
        return ReplicaAdapters(self, engine)

    async def run(self) -> None:
        """Look for changed files, and settle what is left to do, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL_S)
            try:
                if time.monotonic() >= self._fetch_after:
                    await self._fetch_missing(log.info)
                async with self._lock:
                    for adapter in self._adapters:
                        await self._look(adapter)
                    await self._settle()
            except Exception:
                log.exception("%s: unexpected error with its adapters", self._model.name)

    async def prepare(self, progress: Callable[[str], None]) -> Mapping[str, Any]:
        """Read every adapter, downloaded if need be, and return the model's `vllm_args` with those that they need.

        A fault is logged, not raised.
        """
        if not self._fetch_after:
            await self._fetch_missing(progress)
        async with self._lock:
            for adapter in self._adapters:
                adapter.refused = False  # the engine that starts may have room for it
                if adapter.folder is not None:
                    seen = await asyncio.to_thread(fingerprint, adapter.folder)
                    if seen is None or seen != adapter.read:
                        await self._read(adapter, adapter.folder)
            return launch_args(self._adapters, self._model.vllm_args)

    async def load(self, engine: EngineState, socket: Path) -> None:
        """Load every adapter into a new engine.

        Raises:
            EngineError: the engine did not answer.
        """
        engine.start(socket)
        async with self._lock:
            for adapter in self._adapters:
                await self._load(adapter, engine)
            await self._settle()

    def state(self, name: str) -> AdapterState:
        """Return the state of one adapter."""
        return next(adapter for adapter in self._adapters if adapter.name == name)

    async def _look(self, adapter: AdapterState) -> None:
        """Read an adapter whose files have changed, as soon as they were the same at two looks."""
        if adapter.folder is None:
            return
        seen = await asyncio.to_thread(fingerprint, adapter.folder)
        if seen == adapter.read:
            adapter.changing = None
        elif seen == adapter.changing or seen is None:
            await self._read(adapter, adapter.folder)
        else:
            adapter.changing = seen

    async def _fetch_missing(self, progress: Callable[[str], None]) -> None:
        """Download the adapters of the hub that have no folder yet."""
        async with self._fetching:
            for adapter in self._adapters:
                source = parse_source(self._model.adapters[adapter.name], adapter.name)
                if adapter.folder is not None or not isinstance(source, HubModel):
                    continue
                try:
                    adapter.folder = Path(await fetch(adapter.name, source.id, self._state_dir, progress))
                except (EngineError, OSError) as error:
                    self._fetch_after = time.monotonic() + FETCH_RETRY_S
                    self._note_fault(adapter, str(error))

    async def _read(self, adapter: AdapterState, folder: Path) -> None:
        """Copy the content of an adapter. If it is new, it becomes the newest version."""
        adapter.read, adapter.changing = await asyncio.to_thread(fingerprint, folder), None
        try:
            copied = await asyncio.to_thread(copy_version, folder, self._store(adapter))
        except (EngineError, OSError) as error:
            self._note_fault(adapter, str(error))
            if isinstance(error, OSError):
                adapter.read = None  # such as a full disk: the same files may be copied later
            return
        adapter.fault = ""
        version = adapter.versions.setdefault(copied.id, copied)
        if version is not copied:
            copied.close()
        if version is not adapter.newest:
            self._warn_of_other_base(adapter, version)
            adapter.newest, adapter.refused = version, False
            await self._remove_unused(adapter)

    async def _settle(self) -> None:
        """Load what engines lack, switch to what all have, and unload what nobody uses."""
        for engine in self._engines:
            await self._for_each_adapter(self._load, engine)
        for adapter in self._adapters:
            self._switch(adapter)
        for engine in self._engines:
            await self._for_each_adapter(self._unload, engine)

    async def _for_each_adapter(
        self, do: Callable[[AdapterState, EngineState], Awaitable[None]], engine: EngineState
    ) -> None:
        """Do it until the engine does not answer: the next call would take as long, and other engines wait for it."""
        for adapter in self._adapters:
            try:
                await do(adapter, engine)
            except EngineError as error:  # its supervisor will restart it, if it stays like that
                log.warning("%s: %s", adapter.name, error)
                return

    async def _load(self, adapter: AdapterState, engine: EngineState) -> None:
        for version in to_load(adapter, engine):
            socket, start = engine.socket, engine.starts
            if socket is None:
                return
            try:
                await load_adapter(socket, name_at_engine(adapter.name, version.id), version.folder)
            except AdapterRefused as error:
                self._note_refusal(adapter, engine, version, str(error))
                continue
            except EngineError:
                engine.answers = False
                raise
            if engine.socket is not None and engine.starts == start:
                engine.answers = True
                engine.loaded[adapter.name][version.id] = version
                if version is adapter.serving:
                    engine.switch(adapter.name, version, time.monotonic())

    def _switch(self, adapter: AdapterState) -> None:
        """Give new requests the newest version, on all replicas at once."""
        if not may_switch(adapter, self._engines):
            return
        adapter.serving = version = adapter.newest
        assert version is not None  # noqa: S101 - may_switch has seen it
        for engine in self._engines:
            if engine.serves(adapter):
                engine.switch(adapter.name, version, time.monotonic())
        log.info("%s: version %s of this adapter of %s serves", adapter.name, version.folder.name, self._model.name)

    async def _unload(self, adapter: AdapterState, engine: EngineState) -> None:
        longest_s = self._model.timeouts.total_s + UNLOAD_MARGIN_S
        for version in to_unload(adapter, engine, time.monotonic(), longest_s):
            if engine.socket is None:
                return
            await unload_adapter(engine.socket, name_at_engine(adapter.name, version.id))
            engine.loaded[adapter.name].pop(version.id, None)
            await self._remove_unused(adapter)

    async def _remove_unused(self, adapter: AdapterState) -> None:
        """Remove the copies of versions that no engine has and that are not wanted."""
        loaded = {id_ for engine in self._engines for id_ in engine.loaded[adapter.name]}
        for id_, version in list(adapter.versions.items()):
            if id_ not in loaded and version not in (adapter.newest, adapter.serving):
                adapter.versions.pop(id_).close()
        await asyncio.to_thread(remove_unused, self._store(adapter))

    def _note_refusal(self, adapter: AdapterState, engine: EngineState, version: Version, reason: str) -> None:
        engine.refused.add((adapter.name, version.id))
        if version is adapter.newest:
            adapter.refused = version is not adapter.serving
        name = version.folder.name
        log.warning(
            "%s: vLLM refused version %s of this adapter of %s: %s", adapter.name, name, self._model.name, reason
        )

    def _note_fault(self, adapter: AdapterState, fault: str) -> None:
        if fault != adapter.fault:
            log.warning("%s: this adapter of %s is not usable: %s", adapter.name, self._model.name, fault)
        adapter.fault = fault

    def _warn_of_other_base(self, adapter: AdapterState, version: Version) -> None:
        source, base = self._model.source or "", version.adapter.base_model
        is_hub_id = base.count("/") == 1 and not base.startswith(("/", ".", "~"))
        if is_hub_id and isinstance(parse_source(source, self._model.where), HubModel) and base != source:
            log.warning("%s: this adapter was trained on %s, but its model is %s", adapter.name, base, source)

    def _store(self, adapter: AdapterState) -> Path:
        return self._state_dir.resolve() / "adapters" / adapter.name.replace("/", "+")


class ReplicaAdapters:
    """The adapters of one replica, as its supervisor needs them."""

    def __init__(self, adapters: ModelAdapters, engine: EngineState) -> None:
        self._adapters, self._engine = adapters, engine

    async def prepare(self, progress: Callable[[str], None]) -> Mapping[str, Any]:
        """Prepare the adapters and return the model's `vllm_args` with those that they need."""
        return await self._adapters.prepare(progress)

    async def load(self, socket: Path) -> None:
        """Load the adapters into a healthy engine."""
        await self._adapters.load(self._engine, socket)

    def engine_ended(self) -> None:
        """Forget what the engine had loaded."""
        self._engine.stop()

    def liveness(self, name: str, supervisor: Liveness) -> AdapterLiveness:
        """Return whether one adapter is up on this replica."""
        return AdapterLiveness(self._adapters.state(name), self._engine, supervisor)


class AdapterLiveness:
    """Liveness of one adapter on one replica. Restarts and time belong to the replica, so they are 0 here."""

    restarts = 0

    def __init__(self, adapter: AdapterState, engine: EngineState, supervisor: Liveness) -> None:
        self.uptime = Uptime()
        self._adapter, self._engine, self._supervisor = adapter, engine, supervisor

    @property
    def paid(self) -> Uptime:
        """No time: the replica is paid for once, as its model's."""
        return Uptime()

    @property
    def up(self) -> bool:
        """Whether the replica runs and has loaded the version that serves."""
        return self._supervisor.up and self._engine.serves(self._adapter)

    @property
    def may_answer(self) -> bool:
        """Whether the replica may answer and has loaded the version that serves."""
        return self._supervisor.may_answer and self._engine.serves(self._adapter)

    @property
    def detail(self) -> str:
        """The reason why it is down, or why its newest version does not serve."""
        if self._adapter.detail or not self._supervisor.up:
            return self._supervisor.detail or self._adapter.detail
        return "" if self.up else f"adapter {self._adapter.name} is not loaded here"
