"""A managed replica's life, with a small server in vLLM's place. Real processes, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from router.config.models import Model
from router.engine import backoff, engine_process, paths, supervisor
from router.engine.command import Launch
from router.engine.engine_process import EngineProcess
from router.engine.gpu_turns import GpuTurns
from router.engine.launchers import LAUNCHERS
from router.engine.process import Guarded
from router.engine.supervisor import Supervisor
from router.engine.warm_start import WarmStart
from router.errors import EngineError, Unavailable
from router.replicas.pool import Pool, Replica
from tests.support.waiting import PATIENCE_S

ACCEPT = """
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("serving", os.getpid(), flush=True)
while True:
    client, _ = server.accept()
"""
SERVER = (
    ACCEPT
    + """
    client.recv(4096)
    status = open(sys.argv[2]).read()
    if status:
        try:
            client.sendall(b"HTTP/1.1 %s\\r\\ncontent-length: 0\\r\\n\\r\\n" % status.encode())
        except BrokenPipeError:
            pass  # on a busy machine, the health check has given up
        client.close()
"""
)
FAILING = "import sys; sys.exit('ValueError: no such model')"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STARTING_POLL_S": 0.02,
        "READY_POLL_S": 0.02,
        "HANG_TIMEOUT_S": 0.5,
        "PROGRESS_INTERVAL_S": 0.05,
    }.items():
        monkeypatch.setattr(supervisor, name, value)
    monkeypatch.setattr(backoff, "BACKOFF_S", 0.05)
    monkeypatch.setattr(supervisor.random, "random", lambda: 0.0)
    monkeypatch.setattr(engine_process, "HEALTH_TIMEOUT_S", 0.2)


class Bench:
    """A supervisor whose vLLM is `program`."""

    def __init__(self, folder: Path, program: str) -> None:
        self.lines: list[str] = []
        self.program = program
        model = Model(name="tiny", tier="slm", engine="vllm", source="owner/tiny")
        self.subject = Supervisor(model, 0, folder, self.lines.append)
        self.log = folder / "logs" / "tiny-0.log"
        self.status = folder / "status"  # what /health answers; empty: nothing
        self.answer("200 OK")
        self.folder = Path(self.subject.address.removeprefix("unix:")).parent

    def start(self) -> None:
        self.task = asyncio.create_task(self.subject.run())

    def launch(self, *args: Any, **_: Any) -> Launch:
        return Launch((sys.executable, "-c", self.program, str(args[3]), str(self.status)), dict(os.environ))

    def answer(self, status: str) -> None:
        new = self.status.with_suffix(".new")
        new.write_text(status)
        new.rename(self.status)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110 - what is awaited happens in another process
                await asyncio.sleep(0.01)

    def server_pid(self) -> int:
        return int(self.log.read_text().split()[1])


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async def prepared(*_: Any) -> str:
        return "/models/tiny"

    bench = Bench(tmp_path, SERVER)
    monkeypatch.setattr(supervisor, "prepare", prepared)
    monkeypatch.setattr(LAUNCHERS["vllm"], "launch", bench.launch)
    yield bench
    bench.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await bench.task
    assert bench.subject.phase == "stopped"
    assert not bench.folder.exists()


async def test_ready_when_health_answers_and_nothing_left_when_cancelled(bench: Bench) -> None:
    assert bench.subject.phase == "preparing"
    bench.start()
    await bench.until(lambda: bench.subject.phase == "ready")
    assert bench.subject.restarts == 0
    assert any("ready after" in line for line in bench.lines)


class Adapters:
    """Adapters of a replica that only note what they are told."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.calls: list[str] = []
        self.fails = False
        self.hangs = False

    async def prepare(self, progress: Callable[[str], None]) -> dict[str, Any]:
        self.calls.append("prepare")
        return {"enable_lora": True}

    async def load(self, socket: Path) -> None:
        self.calls.append(f"load while {self.bench.subject.phase}")
        assert f"unix:{socket}" == self.bench.subject.address
        if self.hangs:
            await asyncio.sleep(600)
        if self.fails:
            raise EngineError("vLLM did not answer load_lora_adapter")

    def engine_ended(self) -> None:
        self.calls.append("engine ended")


@pytest.fixture
def adapters(bench: Bench) -> Adapters:
    made = Adapters(bench)
    bench.subject._adapters = made
    return made


async def test_adapters_are_loaded_before_it_is_ready_and_after_each_start(
    bench: Bench, adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    args: list[Any] = []

    def launch(*given: Any) -> Launch:
        args.append(given[0].vllm_args)
        return bench.launch(*given)

    monkeypatch.setattr(LAUNCHERS["vllm"], "launch", launch)
    bench.start()
    await bench.until(lambda: bench.subject.up)
    assert adapters.calls == ["prepare", "load while starting"]
    os.kill(bench.server_pid(), signal.SIGKILL)
    await bench.until(lambda: bench.subject.restarts == 1 and bench.subject.up)
    assert adapters.calls[2:] == ["engine ended", "prepare", "load while restarting"]
    assert args == [{"enable_lora": True}] * 2


async def test_an_engine_that_does_not_answer_a_load_is_started_again(
    bench: Bench, adapters: Adapters, caplog: pytest.LogCaptureFixture
) -> None:
    adapters.fails = True
    bench.start()
    await bench.until(lambda: bench.subject.restarts == 1)
    assert "tiny: vLLM did not answer load_lora_adapter; next start in" in caplog.text
    adapters.fails = False
    await bench.until(lambda: bench.subject.up)


async def test_a_load_can_be_cancelled(bench: Bench, adapters: Adapters) -> None:
    adapters.hangs = True
    bench.start()
    await bench.until(lambda: "load while starting" in adapters.calls)
    bench.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bench.task
    assert adapters.calls[-1] == "engine ended"


async def test_a_crash_is_followed_by_a_restart(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start()
    await bench.until(lambda: bench.subject.phase == "ready")
    os.kill(bench.server_pid(), signal.SIGKILL)
    await bench.until(lambda: bench.subject.restarts == 1)
    assert "vLLM was ended by SIGKILL" in caplog.text
    await bench.until(lambda: bench.subject.phase == "ready")
    assert bench.subject.restarts == 1


async def test_a_hanging_engine_is_restarted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start()
    await bench.until(lambda: bench.subject.phase == "ready")
    bench.answer("")
    await bench.until(lambda: bench.subject.restarts == 1)
    assert "did not answer its health check" in caplog.text
    bench.answer("200 OK")
    await bench.until(lambda: bench.subject.phase == "ready")


@pytest.mark.parametrize("sick", ["503 Service Unavailable", ""])
async def test_a_sick_engine_gets_no_requests_until_it_answers_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, sick: str
) -> None:
    monkeypatch.setattr(supervisor, "HANG_TIMEOUT_S", 60.0)
    bench.start()
    await bench.until(lambda: bench.subject.up)
    bench.answer(sick)
    await bench.until(lambda: bench.subject.phase == "unresponsive")
    assert bench.subject.may_answer == (sick == ""), "without an answer it may only be busy"
    assert not bench.subject.up
    assert bench.subject.detail == "vLLM does not answer its health check"
    now, uptime = monotonic(), bench.subject.uptime
    assert uptime.until(now) == uptime.until(now + 9.0) > 0, "the time up stands still"
    bench.answer("200 OK")
    await bench.until(lambda: bench.subject.up)
    assert uptime.until(now + 9.0) > uptime.until(now + 8.0)
    assert bench.subject.detail == ""
    assert bench.subject.restarts == 0, "the same process"


async def test_one_health_check_without_an_answer_is_no_illness(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([200, 200, None, 200, None, 200])
    phases: list[str] = []

    async def health(_: EngineProcess) -> int | None:
        phases.append(bench.subject.phase)
        return next(answers, 200)

    monkeypatch.setattr(EngineProcess, "health", health)
    bench.start()
    await bench.until(lambda: len(phases) > 8)
    assert set(phases[1:]) == {"ready"}


async def test_an_engine_known_to_be_dead_is_not_ready_while_it_is_stopped(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = Guarded.stop
    seen: list[tuple[str, bool]] = []

    async def watched_stop(process: Guarded) -> None:
        seen.append((bench.subject.phase, bench.subject.up))
        await stop(process)

    monkeypatch.setattr(Guarded, "stop", watched_stop)
    bench.start()
    await bench.until(lambda: bench.subject.up)
    os.kill(bench.server_pid(), signal.SIGKILL)
    await bench.until(lambda: bench.subject.restarts == 1)
    assert seen == [("restarting", False)]


async def test_a_log_that_is_lost_ends_no_healthy_engine(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start()
    await bench.until(lambda: bench.subject.up)
    bench.log.unlink()
    await bench.until(lambda: "could not limit the size of its log" in caplog.text)
    await asyncio.sleep(supervisor.READY_POLL_S * 5)
    assert bench.subject.up
    assert bench.subject.restarts == 0
    assert caplog.text.count("could not limit the size of its log") == 1


async def test_a_log_without_room_for_its_copy_ends_no_healthy_engine(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(paths, "MAX_LOG_BYTES", 1)
    os.makedirs(f"{bench.log}.1")  # nothing can be copied there
    bench.start()
    await bench.until(lambda: "could not limit the size of its log" in caplog.text)
    await bench.until(lambda: bench.log.stat().st_size == 0)
    assert bench.subject.restarts == 0


async def test_an_error_that_nobody_expected_is_logged_and_the_start_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any, **__: Any) -> Launch:
        raise TypeError("date is not JSON serializable")

    monkeypatch.setattr(LAUNCHERS["vllm"], "launch", fail)
    bench.start()
    await bench.until(lambda: bench.subject.restarts >= 2)
    assert "TypeError: date is not JSON serializable; next start in" in caplog.text
    assert "Traceback" in caplog.text
    monkeypatch.setattr(LAUNCHERS["vllm"], "launch", bench.launch)
    await bench.until(lambda: bench.subject.up)


async def test_a_private_folder_that_cannot_be_made_is_tried_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.folder.touch()  # somebody else's file
    bench.start()
    await bench.until(lambda: bench.subject.restarts >= 1)
    assert "File exists" in caplog.text
    bench.folder.unlink()
    await bench.until(lambda: bench.subject.up)


async def test_every_start_finds_an_empty_private_folder(bench: Bench) -> None:
    bench.start()
    await bench.until(lambda: bench.subject.up)
    left = bench.folder / "left"
    left.touch()
    os.kill(os.getsid(bench.server_pid()), signal.SIGKILL)  # the guard, which would have removed it
    await bench.until(lambda: bench.subject.restarts == 1)
    await bench.until(lambda: bench.subject.up)
    assert (left.exists(), bench.subject.restarts) == (False, 1)


async def test_an_engine_that_cannot_start_says_why_and_is_tried_again(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.program = FAILING
    bench.start()
    await bench.until(lambda: bench.subject.restarts >= 2)
    assert bench.subject.phase == "restarting"
    assert "vLLM exited with status 1: ValueError: no such model (more in " in caplog.text
    bench.program = SERVER
    await bench.until(lambda: bench.subject.phase == "ready")


async def test_what_a_start_does_is_told_when_it_changes(bench: Bench) -> None:
    bench.program = "import time; print('Starting to load model', flush=True); time.sleep(600)"
    bench.start()
    await bench.until(lambda: "tiny: loading the weights" in bench.lines)
    await bench.until(lambda: bench.subject.detail == "vLLM starting: loading the weights")
    await bench.until(lambda: any(line.endswith(" s so far") for line in bench.lines))


async def test_after_a_warm_start_that_failed_the_next_one_is_cold(
    bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = bench.launch
    monkeypatch.setattr(
        LAUNCHERS["vllm"], "launch", lambda *args: dataclasses.replace(launch(*args), preload=("no_such_module",))
    )
    warm_start = WarmStart(bench.log.parents[1])
    bench.subject = Supervisor(bench.subject._model, 0, bench.log.parents[1], bench.lines.append, warm_start)
    bench.folder = Path(bench.subject.address.removeprefix("unix:")).parent
    bench.start()
    await bench.until(lambda: bench.subject.up)
    assert bench.subject.restarts == 1
    assert "the warm parent ended: ModuleNotFoundError: No module named 'no_such_module'" in caplog.text
    await warm_start.stop()


async def test_a_start_that_never_ends_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "START_TIMEOUT_S", 0.3)
    bench.program = "import time; time.sleep(600)"
    bench.start()
    await bench.until(lambda: bench.subject.restarts == 1)
    assert "vLLM was not ready after 0 s" in caplog.text
    assert "tiny: loading vLLM's code" in bench.lines


async def test_a_model_that_cannot_be_had_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> str:
        raise EngineError("the hub cannot be reached")

    monkeypatch.setattr(supervisor, "prepare", fail)
    bench.start()
    await bench.until(lambda: bench.subject.restarts >= 2)
    assert "tiny: the hub cannot be reached; next start in" in caplog.text


async def test_it_tells_that_it_cannot_be_started_before_its_weights_are_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = asyncio.Event()

    async def prepare(*_: Any) -> str:
        await there.wait()
        return "path"

    monkeypatch.setattr(supervisor, "prepare", prepare)
    bench.subject.unload("not loaded")
    bench.start()
    await asyncio.sleep(0)
    assert bench.subject.is_preparing
    there.set()
    await bench.until(lambda: bench.subject.phase == "unloaded")
    assert not bench.subject.is_preparing


async def test_a_loaded_replica_says_that_it_starts_while_its_adapters_are_fetched(
    bench: Bench, adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def prepare(progress: Callable[[str], None]) -> dict[str, Any]:
        adapters.calls.append("prepare")
        return await asyncio.sleep(600, {})

    monkeypatch.setattr(adapters, "prepare", prepare)
    bench.subject.unload("not loaded")
    bench.start()
    await bench.until(lambda: bench.subject.phase == "unloaded")
    bench.subject.load()
    await bench.until(lambda: "prepare" in adapters.calls)
    assert (bench.subject.phase, bench.subject.detail) == ("starting", "starting")


async def test_a_replica_prepares_until_it_is_known_what_starts(
    bench: Bench, adapters: Adapters, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched = asyncio.Event()

    async def prepare(progress: Callable[[str], None]) -> dict[str, Any]:
        adapters.calls.append("prepare")
        await fetched.wait()
        return {}

    monkeypatch.setattr(adapters, "prepare", prepare)
    bench.program = "import time; time.sleep(600)"
    bench.start()
    await bench.until(lambda: "prepare" in adapters.calls)
    assert (bench.subject.phase, bench.subject.detail) == ("preparing", "preparing the model")
    fetched.set()
    await bench.until(lambda: bench.subject.phase == "starting")
    assert bench.subject.detail.startswith("vLLM starting")


async def test_clients_are_told_no_path_of_ours(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> str:
        raise EngineError(f"no room in {bench.log}")

    monkeypatch.setattr(supervisor, "prepare", fail)
    monkeypatch.setattr(backoff, "BACKOFF_S", 60.0)
    model = Model(name="tiny", tier="slm", engine="vllm", source="owner/tiny")
    pool = Pool(model, [Replica("tiny/0", f"{bench.subject.address}:/v1", bench.subject)])
    details = [pool.status(0.0).detail]
    bench.start()
    await asyncio.sleep(0)  # it has failed, and waits before it tries again
    assert bench.subject.phase == "restarting"
    assert str(bench.log) in caplog.text, "the operator is told"
    with pytest.raises(Unavailable) as caught:
        pool.acquire(0.0, last_resort=True)
    assert caught.value.message == "The model 'tiny' is not available: restarting; next start in 60 s."
    details.append(pool.status(0.0).detail)
    assert not any("/" in detail for detail in details)


async def test_a_replica_that_is_not_wanted_is_prepared_and_started_when_it_is(bench: Bench) -> None:
    bench.subject.unload("not loaded")
    bench.start()
    await bench.until(lambda: bench.subject.phase == "unloaded")
    assert (bench.subject.up, bench.subject.detail, bench.subject.holds_memory) == (False, "not loaded", False)
    assert not bench.log.exists(), "nothing was started"
    bench.subject.load()
    await bench.until(lambda: bench.subject.up)
    assert (bench.subject.detail, bench.subject.holds_memory, bench.subject.restarts) == ("", True, 0)


async def test_an_unloaded_replica_leaves_nothing_costs_nothing_and_can_be_loaded_again(bench: Bench) -> None:
    bench.start()
    await bench.until(lambda: bench.subject.up)
    first = bench.server_pid()
    bench.subject.unload("not loaded")
    assert not bench.subject.up, "from now on"
    await bench.until(lambda: bench.subject.phase == "unloaded")
    assert not bench.subject.holds_memory
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    now, paid = monotonic(), bench.subject.paid
    assert paid.until(now) == paid.until(now + 9.0) > 0
    bench.subject.load()
    await bench.until(lambda: bench.subject.up)
    assert paid.until(now + 9.0) > paid.until(now + 8.0)
    assert (bench.subject.restarts, bench.server_pid() != first) == (0, True)


async def test_loading_is_paid_but_not_up(bench: Bench) -> None:
    bench.answer("503 Service Unavailable")
    bench.start()
    await bench.until(lambda: bench.subject.holds_memory)
    now, subject = monotonic(), bench.subject
    assert subject.paid.until(now + 1.0) > subject.paid.until(now)
    assert subject.uptime.until(now + 1.0) == 0


async def test_a_drained_replica_runs_on_and_takes_requests_again_when_it_is_loaded(bench: Bench) -> None:
    bench.start()
    await bench.until(lambda: bench.subject.up)
    first = bench.server_pid()
    bench.subject.drain("finishes its requests")
    await asyncio.sleep(supervisor.READY_POLL_S * 5)
    assert (bench.subject.up, bench.subject.is_loaded, bench.subject.detail) == (False, True, "finishes its requests")
    bench.subject.load()
    assert (bench.subject.up, bench.server_pid()) == (True, first)


async def test_a_start_ends_when_the_replica_is_unloaded_meanwhile(bench: Bench) -> None:
    bench.program = "import time; time.sleep(600)"
    bench.start()
    await bench.until(lambda: bench.subject.holds_memory and bench.log.exists())
    bench.subject.unload("not loaded")
    await bench.until(lambda: bench.subject.phase == "unloaded")
    assert (bench.subject.restarts, bench.subject.has_failed) == (0, False)


async def test_a_failed_replica_that_is_unloaded_is_not_restarted(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "BACKOFF_S", 0.3)
    bench.program = FAILING
    bench.start()
    await bench.until(lambda: bench.subject.has_failed)
    bench.subject.unload("its last start failed")
    await bench.until(lambda: bench.subject.phase == "unloaded")
    assert (bench.subject.restarts, bench.subject.has_failed) == (1, False)


SLEEPER = (
    ACCEPT
    + """
    asked = client.recv(4096).split(b" HTTP")[0].decode()
    if "health" not in asked:
        print(asked, flush=True)
    status = "500 No" if asked in open(sys.argv[2]).read() and "health" not in asked else "200 OK"
    client.sendall(b"HTTP/1.1 %s\\r\\ncontent-length: 0\\r\\n\\r\\n" % status.encode())
    client.close()
"""
)
"""vLLM's paths for sleep; the status file names the one that fails"""


@pytest.fixture
def sleeping(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose engine can sleep, which a vLLM on a CPU cannot."""
    launch = bench.launch
    launcher = LAUNCHERS["vllm"]
    monkeypatch.setattr(launcher, "launch", lambda *args: dataclasses.replace(launch(*args), can_sleep=True))
    bench.program = SLEEPER
    return bench


async def test_an_engine_that_can_sleep_sleeps_instead_of_ending(sleeping: Bench) -> None:
    subject = sleeping.subject
    sleeping.start()
    await sleeping.until(lambda: subject.up)
    for naps in (1, 2):
        subject.unload("not loaded")
        await sleeping.until(lambda: subject.phase == "asleep")
        assert (subject.up, subject.holds_memory, subject.detail) == (False, False, "not loaded")
        now = monotonic()
        assert subject.paid.until(now) == subject.paid.until(now + 9.0)
        subject.load()
        await sleeping.until(lambda: subject.up)
        assert subject.holds_memory
        assert sleeping.log.read_text().split("\n")[1:-1] == ["POST /sleep?level=1", "POST /wake_up"] * naps
    assert any("awake after" in line for line in sleeping.lines)


async def test_an_engine_that_does_not_sleep_is_stopped(sleeping: Bench, caplog: pytest.LogCaptureFixture) -> None:
    sleeping.answer("POST /sleep?level=1")
    sleeping.start()
    await sleeping.until(lambda: sleeping.subject.up)
    first = sleeping.server_pid()
    sleeping.subject.unload("not loaded")
    await sleeping.until(lambda: sleeping.subject.phase == "unloaded")
    assert "vLLM does not sleep; it is stopped instead" in caplog.text
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)


async def test_an_engine_that_does_not_wake_up_is_started_anew(
    sleeping: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    sleeping.answer("POST /wake_up")
    sleeping.start()
    await sleeping.until(lambda: sleeping.subject.up)
    sleeping.subject.unload("not loaded")
    await sleeping.until(lambda: sleeping.subject.phase == "asleep")
    sleeping.subject.load()
    await sleeping.until(lambda: sleeping.subject.restarts == 1 and sleeping.subject.up)
    assert "vLLM did not wake up from sleep" in caplog.text


async def test_an_engine_that_dies_in_its_sleep_is_noticed(sleeping: Bench) -> None:
    sleeping.start()
    await sleeping.until(lambda: sleeping.subject.up)
    sleeping.subject.unload("not loaded")
    await sleeping.until(lambda: sleeping.subject.phase == "asleep")
    os.kill(sleeping.server_pid(), signal.SIGKILL)
    await sleeping.until(lambda: sleeping.subject.phase == "unloaded")
    assert sleeping.subject.restarts == 1


class Neighbours:
    """Two replicas that start on the same GPU, and a third on another one."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bench, self.turns = bench, GpuTurns()
        self.programs = [bench.program] * 3
        self.launched = [0] * 3
        monkeypatch.setattr(LAUNCHERS["vllm"], "launch", self.launch)
        model = Model(name="tiny", tier="slm", engine="vllm", source="owner/tiny", replicas=3)
        self.lines: list[str] = []
        self.all = [
            Supervisor(model, at, bench.log.parents[1], self.lines.append, gpu_turns=self.turns) for at in range(3)
        ]

    def start(self) -> None:
        self.tasks = [asyncio.create_task(one.run()) for one in self.all]

    def launch(self, model: Model, index: int, path: str, socket: Path, host: Any) -> Launch:
        self.launched[index] += 1
        command = (sys.executable, "-c", self.programs[index], str(socket), str(self.bench.status))
        return Launch(command, dict(os.environ), gpus=("1",) if index == 2 else ("0",))


@pytest.fixture
async def neighbours(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Neighbours]:
    made = Neighbours(bench, monkeypatch)
    bench.start()  # the fixture ends it
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)


async def test_replicas_that_share_a_gpu_start_one_after_another(neighbours: Neighbours) -> None:
    neighbours.bench.answer("503 Service Unavailable")  # they start, and are not ready
    first, second, elsewhere = neighbours.all
    neighbours.start()
    await neighbours.bench.until(lambda: first.holds_memory != second.holds_memory and elsewhere.holds_memory)
    waiting = second if first.holds_memory else first  # either may be the first to be prepared
    await neighbours.bench.until(lambda: "waiting for another engine" in waiting.detail)
    assert not waiting.holds_memory
    name = f"tiny/{neighbours.all.index(waiting)}"
    assert f"{name}: waits for another engine that is starting on the same GPU" in neighbours.lines
    neighbours.bench.answer("200 OK")
    await neighbours.bench.until(lambda: all(one.up for one in neighbours.all))


async def test_a_replica_in_a_crash_loop_takes_no_other_down(neighbours: Neighbours) -> None:
    neighbours.programs[0] = FAILING
    sick, healthy, elsewhere = neighbours.all
    neighbours.start()
    await neighbours.bench.until(lambda: healthy.up and elsewhere.up)
    await neighbours.bench.until(lambda: sick.restarts >= 3)
    await neighbours.bench.until(lambda: healthy.up and elsewhere.up)  # a late health check is no restart
    assert [healthy.restarts, elsewhere.restarts] == [0, 0]
    assert neighbours.launched[1:] == [1, 1]
    os.kill(int((neighbours.bench.log.parent / "tiny-1.log").read_text().split()[1]), signal.SIGKILL)
    await neighbours.bench.until(lambda: healthy.restarts == 1 and healthy.up)
