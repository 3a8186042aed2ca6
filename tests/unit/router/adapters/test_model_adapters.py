"""The adapters of a model on two replicas, with a small server in the place of each vLLM."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from router.adapters import engine_calls, model_adapters
from router.adapters.folder import WEIGHTS
from router.adapters.model_adapters import ModelAdapters
from router.adapters.version import Version, copy_version
from router.config.models import Model
from router.errors import EngineError
from router.replicas.adapter_replica import AdapterSlot, name_at_engine
from router.replicas.liveness import Unwatched
from tests.support.adapter_engine import AdapterEngine
from tests.support.lora import write_adapter
from tests.support.waiting import PATIENCE_S

NAMES = ("orders", "tickets")


class Bench:
    """Two adapters of a model with two replicas."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folders = {name: write_adapter(folder / name, seed) for seed, name in enumerate(NAMES)}
        adapters = {name: str(path) for name, path in self.folders.items()}
        self.model = Model(name="tiny", tier="slm", engine="vllm", source="owner/tiny", replicas=2, adapters=adapters)
        self.subject = ModelAdapters(self.model, folder / "state")
        self.slots = [{name: AdapterSlot() for name in NAMES} for _ in range(2)]
        self.replicas = [self.subject.replica(slots) for slots in self.slots]
        self.engines = [AdapterEngine(folder / f"{number}.sock") for number in range(2)]

    async def start(self, number: int) -> None:
        await self.replicas[number].prepare(print)
        await self.replicas[number].load(self.engines[number].socket)

    def serving(self, name: str = "orders", number: int = 0) -> str:
        return name_at_engine(name, self.slots[number][name].version)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - the subject's task makes it so
                await asyncio.sleep(0.005)

    @property
    def store(self) -> set[str]:
        return set(os.listdir(self.folder / "state" / "adapters" / "orders"))


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_adapters, "LOOK_INTERVAL_S", 0.01)


@asynccontextmanager
async def running(folder: Path, started: int = 2) -> AsyncIterator[Bench]:
    bench = Bench(folder)
    async with AsyncExitStack() as stack:
        for engine in bench.engines:
            await stack.enter_async_context(engine)
        for number in range(started):
            await bench.start(number)
        task = asyncio.create_task(bench.subject.run())
        try:
            yield bench
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_every_adapter_is_loaded_when_load_returns(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    async with bench.engines[0] as engine:
        args = await bench.replicas[0].prepare(print)
        assert args == {"enable_lora": True, "max_lora_rank": 8, "max_loras": 3, "max_cpu_loras": 3}
        assert bench.serving() == "orders@000000000000"
        await bench.replicas[0].load(engine.socket)
        assert set(engine.loaded) == {bench.serving(name) for name in NAMES}
        for name, path in engine.loaded.items():
            assert path.name == name.partition("@")[2]
            assert (path / WEIGHTS).read_bytes() == (bench.folders[name.partition("@")[0]] / WEIGHTS).read_bytes()
            assert path.is_relative_to(tmp_path / "state")


async def test_a_changed_folder_is_served_by_all_replicas_at_once_and_the_old_one_unloaded(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        before = bench.serving()
        write_adapter(bench.folders["orders"], 7)
        await bench.until(lambda: bench.serving() != before)
        assert bench.serving(number=0) == bench.serving(number=1)
        await bench.until(lambda: all(before not in engine.loaded for engine in bench.engines))
        for engine in bench.engines:
            assert engine.calls[-2:] == [("load", bench.serving()), ("unload", before)]
        await bench.until(lambda: bench.store == {bench.serving().partition("@")[2]})


async def test_requests_keep_the_version_they_began_with(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        before = bench.serving()
        bench.slots[0]["orders"].count(0, 1)
        write_adapter(bench.folders["orders"], 7)
        await bench.until(lambda: before not in bench.engines[1].loaded)
        assert before in bench.engines[0].loaded, "one of its requests is in flight"
        bench.slots[0]["orders"].count(0, -1)
        await bench.until(lambda: before not in bench.engines[0].loaded)


async def test_an_old_version_is_unloaded_when_its_requests_must_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_adapters, "UNLOAD_MARGIN_S", -300.0)  # the total_s of the model
    async with running(tmp_path, 1) as bench:
        before = bench.serving()
        bench.slots[0]["orders"].count(0, 1)  # others begin all the time
        write_adapter(bench.folders["orders"], 7)
        await bench.until(lambda: before not in bench.engines[0].loaded)


async def test_a_version_that_one_engine_refuses_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as bench:
        before, state = bench.serving(), bench.subject.state("orders")
        bench.engines[1].refuses = "LoRA rank 64 is greater than max_lora_rank 8."
        write_adapter(bench.folders["orders"], 7, rank=64)
        await bench.until(lambda: state.detail)
        assert "goes on serving" in state.detail
        await bench.until(lambda: len(bench.engines[0].loaded) == 2)
        assert [bench.serving(number=number) for number in range(2)] == [before] * 2
        assert all(before in engine.loaded for engine in bench.engines)
        assert caplog.text.count("LoRA rank 64 is greater") == 1
        live = bench.replicas[1].liveness("orders", Unwatched())
        assert (live.up, live.detail) == (True, state.detail)
        bench.engines[1].refuses = ""
        write_adapter(bench.folders["orders"], 8)
        await bench.until(lambda: bench.serving() != before)
        assert state.detail == ""
        assert len(bench.store) <= 2, "the refused one is gone"


async def test_a_refused_version_is_tried_again_when_an_engine_starts(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as bench:
        before = bench.serving()
        bench.engines[0].refuses = "no"
        write_adapter(bench.folders["orders"], 7, rank=64)
        await bench.until(lambda: bench.subject.state("orders").refused)
        bench.replicas[0].engine_ended()
        bench.engines[0].refuses = ""
        bench.engines[0].loaded.clear()
        assert (await bench.replicas[0].prepare(print))["max_lora_rank"] == 64
        await bench.replicas[0].load(bench.engines[0].socket)
        assert bench.serving() != before
        assert bench.serving() in bench.engines[0].loaded


async def test_an_engine_that_starts_again_gets_what_serves(tmp_path: Path) -> None:
    async with running(tmp_path) as bench:
        live = bench.replicas[1].liveness("orders", Unwatched())
        assert live.up
        bench.replicas[1].engine_ended()
        bench.engines[1].loaded.clear()
        assert not live.up
        assert live.detail == "adapter orders is not loaded here"
        write_adapter(bench.folders["orders"], 7)
        before = bench.serving()
        await bench.until(lambda: bench.serving() != before)  # it does not wait for an engine that does not run
        await bench.start(1)
        assert live.up
        assert bench.serving(number=1) == bench.serving(number=0)
        assert set(bench.engines[1].loaded) == {bench.serving(name) for name in NAMES}


async def test_an_engine_that_does_not_answer_fails_its_start_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as bench:
        monkeypatch.setattr(engine_calls, "CALL_TIMEOUT_S", 0.05)
        before = bench.serving()
        bench.engines[1].silent = True
        write_adapter(bench.folders["orders"], 7)
        await bench.until(lambda: bench.serving() != before)
        live = bench.replicas[1].liveness("orders", Unwatched())
        assert not live.up, "it has not loaded what serves"
        assert "orders: vLLM did not answer load_lora_adapter in 0 s" in caplog.text
        monkeypatch.setattr(engine_calls, "CALL_TIMEOUT_S", 60.0)
        bench.engines[1].silent = False
        await bench.until(lambda: live.up)
        await bench.until(lambda: before not in bench.engines[1].loaded)
    gone = AdapterEngine(tmp_path / "gone.sock")
    with pytest.raises(EngineError, match="vLLM did not answer load_lora_adapter: "):
        await bench.replicas[0].load(gone.socket)


async def test_a_start_that_is_cancelled_while_it_loads_leaves_the_others_alone(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as bench:
        bench.engines[1].silent = True
        starting = asyncio.create_task(bench.start(1))
        await bench.until(lambda: bench.engines[1].calls)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        bench.replicas[1].engine_ended()
        before = bench.serving()
        write_adapter(bench.folders["orders"], 7)
        await bench.until(lambda: bench.serving() != before)
        bench.engines[1].silent = False
        await bench.start(1)
        assert bench.serving(number=1) == bench.serving()


async def test_a_load_whose_answer_was_lost_is_no_failure(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.replicas[0].prepare(print)
    version = bench.subject.state("orders").newest
    assert version is not None
    async with bench.engines[0] as engine:
        engine.loaded[name_at_engine("orders", version.id)] = version.folder
        await bench.replicas[0].load(engine.socket)
        assert bench.serving() == name_at_engine("orders", version.id)


@pytest.mark.parametrize("how", ["cut", "gone"])
def test_files_that_are_not_usable_change_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str) -> None:
    async def scenario() -> None:
        async with running(tmp_path, 1) as bench:
            state, folder, before = bench.subject.state("orders"), bench.folders["orders"], bench.serving()
            kept = shutil.copytree(folder, tmp_path / "kept")
            if how == "cut":
                (folder / WEIGHTS).write_bytes(b"cut")
            else:
                shutil.rmtree(folder)
            await bench.until(lambda: state.fault)
            assert "goes on serving" in state.detail
            assert str(tmp_path) not in state.detail
            assert bench.serving() == before
            assert f"orders: this adapter of tiny is not usable: {folder}" in caplog.text
            bench.replicas[0].engine_ended()
            bench.engines[0].loaded.clear()
            await bench.start(0)
            assert bench.serving() == before, "also after a restart"
            shutil.copytree(kept, folder, dirs_exist_ok=True)
            await bench.until(lambda: not state.detail)
            assert bench.serving() == before

    asyncio.run(scenario())
    assert caplog.text.count("is not usable") <= 2


async def test_files_that_could_not_be_copied_are_copied_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[Path] = []

    def copy(source: Path, store: Path) -> Version:
        tries.append(source)
        if len(tries) < 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return copy_version(source, store)

    async with running(tmp_path) as bench:
        before = bench.serving()
        monkeypatch.setattr(model_adapters, "copy_version", copy)
        write_adapter(bench.folders["orders"], 7)
        await bench.until(lambda: bench.serving() != before)
        assert caplog.text.count("No space left") == 1


async def test_a_silent_engine_is_asked_once_in_a_round_not_for_every_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as bench:
        silent, other = bench.engines
        silent.silent = True
        silent.calls.clear()
        monkeypatch.setattr(engine_calls, "CALL_TIMEOUT_S", 0.2)
        for seed, name in enumerate(NAMES):
            write_adapter(bench.folders[name], 7 + seed)
        await bench.until(lambda: len(other.loaded) == 4)
        assert {name.partition("@")[0] for _, name in silent.calls} == {"orders"}


async def test_files_that_still_change_are_left_alone(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as bench:
        state, before = bench.subject.state("orders"), bench.serving()
        write_adapter(bench.folders["orders"], 7)
        async with bench.subject._lock:  # its own looks wait meanwhile
            await bench.subject._look(state)
            write_adapter(bench.folders["orders"], 8)
            await bench.subject._look(state)
            assert bench.serving() == before
            assert (state.newest, state.fault) == (state.serving, "")
            await bench.subject._look(state)
            assert state.newest is not state.serving


async def test_the_content_of_before_needs_no_second_load(tmp_path: Path) -> None:
    async with running(tmp_path, 1) as bench:
        before, engine = bench.serving(), bench.engines[0]
        bench.slots[0]["orders"].count(0, 1)  # so the old version stays
        write_adapter(bench.folders["orders"], 7)
        await bench.until(lambda: bench.serving() != before)
        write_adapter(bench.folders["orders"], 0)
        await bench.until(lambda: bench.serving() == before)
        assert engine.calls.count(("load", before)) == 1
        bench.slots[0]["orders"].count(0, -1)
        await bench.until(lambda: len(engine.loaded) == len(NAMES))


async def test_an_adapter_of_the_hub_is_fetched_and_fetched_again_if_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_adapter(tmp_path / "cache", 1, base_model_name_or_path="owner/other")
    answers: list[EngineError | str] = [EngineError("the hub cannot be reached"), str(folder)]

    async def fetch(name: str, hub_id: str, *_: object) -> str:
        assert (name, hub_id) == ("orders", "owner/orders-lora")
        answer = answers.pop(0)
        if isinstance(answer, EngineError):
            raise answer
        return answer

    monkeypatch.setattr(model_adapters, "fetch", fetch)
    monkeypatch.setattr(model_adapters, "FETCH_RETRY_S", 0.01)
    adapters = {"orders": "owner/orders-lora"}
    model = Model(name="tiny", tier="slm", engine="vllm", source="owner/tiny", adapters=adapters)
    subject, slot = ModelAdapters(model, tmp_path / "state"), AdapterSlot()
    replica = subject.replica({"orders": slot})
    async with AdapterEngine(tmp_path / "sock") as engine:
        assert (await replica.prepare(print))["max_lora_rank"] == 16
        await replica.load(engine.socket)
        assert slot.version == 0
        assert "orders: this adapter of tiny is not usable: the hub cannot be reached" in caplog.text
        task = asyncio.create_task(subject.run())
        async with asyncio.timeout(PATIENCE_S):
            while not slot.version:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert "orders: this adapter was trained on owner/other, but its model is owner/tiny" in caplog.text
