"""Engines that are forked: as `python -m` would start them, and as well guarded. Real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from router.engine import guard, warm_start
from router.engine.command import Launch
from router.engine.process import Guarded
from router.engine.warm_start import WarmStart
from router.errors import EngineError
from tests.support.waiting import PATIENCE_S

ENGINE = """
import json, multiprocessing, os, sys, time

def child(path):
    open(path, "w").write(str(os.getpid()))
    time.sleep(600)

if __name__ == "__main__":
    import preloaded
    print(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ), "loaded by": preloaded.PID}), flush=True)
    if sys.argv[1] == "exit":
        sys.exit(int(sys.argv[2]))
    multiprocessing.get_context("spawn").Process(target=child, args=(sys.argv[2],)).start()
    time.sleep(600)
"""
PRELOADED = "import os, pathlib; PID = os.getpid(); pathlib.Path(__file__).with_name(f'parent-{PID}').touch()"

# A gateway of a few lines: it starts ENGINE and then only lives.
GATEWAY = """
import asyncio, os, sys
from pathlib import Path
from router.engine.command import Launch
from router.engine.warm_start import WarmStart
async def main():
    launch = Launch((sys.executable, "-m", "engine", "stay", sys.argv[1] + "/child"), dict(os.environ), ("preloaded",))
    with open(sys.argv[1] + "/log", "wb") as log:
        await WarmStart(Path(sys.argv[1])).start(launch, log, remove_after=Path(sys.argv[1], "private"))
    await asyncio.sleep(600)
asyncio.run(main())
"""


class Bench:
    """A warm start whose engines are the module `engine`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.private = folder / "private"
        self.child = folder / "child"
        self.subject = WarmStart(folder)
        (folder / "engine.py").write_text(ENGINE)
        (folder / "preloaded.py").write_text(PRELOADED)

    def env(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": f"{self.folder}:{os.getcwd()}"}

    async def start(self, *args: str, preload: str = "preloaded", fork_children: bool = True) -> Guarded:
        self.private.mkdir(exist_ok=True)
        launch = Launch((sys.executable, "-m", "engine", *args), self.env(), (preload,), fork_children=fork_children)
        with self.log.open("wb") as log:
            return await self.subject.start(launch, log, remove_after=self.private)

    async def stay(self) -> Guarded:
        """Start an engine that stays, and wait for its child."""
        engine = await self.start("stay", str(self.child))
        await until(lambda: self.child.exists() and self.child.read_text() != "")
        return engine

    def parents(self) -> list[int]:
        return [int(file.name.partition("-")[2]) for file in self.folder.glob("parent-*")]

    def running(self, session: int) -> list[int]:
        return [entry.pid for entry in guard.processes() if entry.session == session and not entry.ended]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - what is awaited happens in another process
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    return any(entry.pid == pid and not entry.ended for entry in guard.processes())


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(warm_start, "GRACE_S", 0.3)
    made = Bench(tmp_path)
    yield made
    await made.subject.stop()
    assert not any(map(alive, made.parents()))


async def test_an_engine_runs_as_python_m_runs_it(bench: Bench) -> None:
    engine = await bench.start("exit", "0")
    assert await engine.exited() == 0
    told = bench.log.read_text()
    assert '"argv": ["exit", "0"]' in told
    assert f'"loaded by": {bench.parents()[0]}' in told, "the parent has imported it"
    assert f'"PYTHONPATH": "{bench.folder}' in told
    assert not bench.private.exists()
    await engine.stop()


async def test_an_answer_for_a_start_that_was_cancelled_meanwhile_is_no_error(tmp_path: Path) -> None:
    parent = warm_start._WarmParent(tmp_path / "log")
    with parent._their_end as channel:
        parent._pids[1] = asyncio.get_running_loop().create_future()
        parent._pids[1].cancel()  # and its task has not run since
        channel.send(b'{"request": 1, "pid": 2}')
        parent._on_reply()
    await parent.stop()


@pytest.mark.parametrize("status", [3, 1])
async def test_the_status_is_the_engine_s(bench: Bench, status: int) -> None:
    engine = await bench.start("exit", str(status))
    assert await engine.exited() == status
    await engine.stop()


async def test_an_error_of_the_engine_is_in_its_log(bench: Bench) -> None:
    engine = await bench.start("exit", "not a number")
    assert await engine.exited() == 1
    assert "ValueError: invalid literal" in bench.log.read_text()
    await engine.stop()


async def test_processes_of_the_engine_are_forked_too(bench: Bench) -> None:
    engine = await bench.stay()
    assert "multiprocessing" not in command(int(bench.child.read_text())), "`spawn` would run a new interpreter"
    await engine.stop()
    assert bench.running(engine.pid) == []
    assert not bench.private.exists()


async def test_where_the_engine_must_not_fork_its_processes_are_spawned(bench: Bench) -> None:
    engine = await bench.start("stay", str(bench.child), fork_children=False)
    await until(bench.child.exists)
    await until(lambda: any("spawn_main" in command(pid) for pid in bench.running(engine.pid)))
    await engine.stop()


@pytest.mark.parametrize("victim", ["outer guard", "inner guard", "engine"])
async def test_whatever_dies_takes_the_rest_with_it(bench: Bench, victim: str) -> None:
    engine = await bench.stay()
    outer = engine.pid
    inner = next(entry.pid for entry in guard.processes() if entry.parent == outer)
    own = next(entry.pid for entry in guard.processes() if entry.parent == inner)
    os.kill({"outer guard": outer, "inner guard": inner, "engine": own}[victim], signal.SIGKILL)
    assert await engine.exited(PATIENCE_S) == (-signal.SIGKILL if victim == "outer guard" else 137)
    await engine.stop()
    assert bench.running(outer) == []


async def test_a_warm_parent_that_dies_leaves_its_engines_and_is_replaced(bench: Bench) -> None:
    engine = await bench.stay()
    (first,) = bench.parents()
    os.kill(first, signal.SIGKILL)
    await until(lambda: not alive(first))
    await asyncio.sleep(0.1)
    assert len(bench.running(engine.pid)) == 4, "two guards, the engine and its child"
    second = await bench.start("exit", "0")
    assert await second.exited() == 0
    assert len(bench.parents()) == 2
    await second.stop()
    await engine.stop()
    assert bench.running(engine.pid) == []


async def test_engines_that_start_at_once_share_a_parent(bench: Bench) -> None:
    engines = await asyncio.gather(*(bench.start("exit", str(status)) for status in range(4)))
    assert [await engine.exited() for engine in engines] == [0, 1, 2, 3]
    assert len(bench.parents()) == 1
    for engine in engines:
        await engine.stop()


async def test_code_that_cannot_be_loaded_is_said(bench: Bench) -> None:
    with pytest.raises(EngineError, match="the warm parent ended: ModuleNotFoundError: No module named 'absent'"):
        await bench.start("exit", "0", preload="absent")


async def test_a_start_that_is_cancelled_leaves_nothing(bench: Bench) -> None:
    (bench.folder / "slow.py").write_text("import time, preloaded; time.sleep(0.5)")
    starting = asyncio.create_task(bench.start("stay", str(bench.child), preload="slow"))
    await until(lambda: bool(bench.parents()))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    engine = await bench.start("exit", "0", preload="slow")
    assert await engine.exited() == 0, "the parent is as before"
    await engine.stop()
    assert not bench.child.exists()


async def test_a_killed_gateway_leaves_nothing(bench: Bench) -> None:
    bench.private.mkdir()
    gateway = await asyncio.create_subprocess_exec(sys.executable, "-c", GATEWAY, str(bench.folder), env=bench.env())
    await until(lambda: bench.child.exists() and bench.child.read_text() != "")
    child = int(bench.child.read_text())
    gateway.kill()
    await gateway.wait()
    await until(lambda: not any(map(alive, [child, *bench.parents()])))
    await until(lambda: not bench.private.exists())
