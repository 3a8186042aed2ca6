"""A managed replica's life, with a small server in vLLM's place. Real processes, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from router.config import Model
from router.engine import supervisor
from router.engine.command import Launch
from router.engine.supervisor import Supervisor, backoff_s, bound_log, last_words, new_log, runtime_folder
from router.errors import EngineError

SERVER = """
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("serving", os.getpid(), flush=True)
while True:
    client, _ = server.accept()
    client.recv(4096)
    if not os.path.exists(sys.argv[1] + ".hang"):
        client.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\n\\r\\n")
        client.close()
"""
FAILING = "import sys; sys.exit('ValueError: no such model')"


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "POLL_STARTING_S": 0.02,
        "POLL_READY_S": 0.02,
        "HEALTH_TIMEOUT_S": 0.2,
        "HANG_LIMIT_S": 0.5,
        "PROGRESS_EVERY_S": 0.05,
        "BACKOFF_S": 0.05,
    }.items():
        monkeypatch.setattr(supervisor, name, value)


class Bench:
    """A supervisor whose vLLM is `program`."""

    def __init__(self, folder: Path, program: str) -> None:
        self.lines: list[str] = []
        self.program = program
        model = Model(name="tiny", tier="slm", engine="vllm", source="owner/tiny")
        self.subject = Supervisor(model, 0, folder, self.lines.append)
        self.log = folder / "logs" / "tiny-0.log"

    def start(self) -> None:
        self.task = asyncio.create_task(self.subject.run())

    def launch(self, *args: Any, **_: Any) -> Launch:
        return Launch((sys.executable, "-c", self.program, str(args[3])), dict(os.environ))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
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
    monkeypatch.setattr(supervisor, "vllm_launch", bench.launch)
    yield bench
    bench.task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await bench.task
    assert bench.subject.phase == "stopped"
    assert not Path(bench.subject.address.removeprefix("unix:")).parent.exists()


async def test_ready_when_health_answers_and_nothing_left_when_cancelled(bench: Bench) -> None:
    assert bench.subject.phase == "preparing"
    bench.start()
    await bench.until(lambda: bench.subject.phase == "ready")
    assert bench.subject.restarts == 0
    assert any("ready after" in line for line in bench.lines)


async def test_a_crash_is_followed_by_a_restart(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start()
    await bench.until(lambda: bench.subject.phase == "ready")
    os.kill(bench.server_pid(), signal.SIGKILL)
    await bench.until(lambda: bench.subject.phase == "restarting")
    assert not bench.subject.up
    assert "vLLM was ended by SIGKILL" in caplog.text
    await bench.until(lambda: bench.subject.phase == "ready")
    assert bench.subject.restarts == 1


async def test_a_hanging_engine_is_restarted(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.start()
    await bench.until(lambda: bench.subject.phase == "ready")
    hang = bench.subject.address.removeprefix("unix:") + ".hang"
    await asyncio.to_thread(Path(hang).touch)
    await bench.until(lambda: bench.subject.phase == "restarting")
    assert "did not answer its health check" in caplog.text
    await asyncio.to_thread(Path(hang).unlink)
    await bench.until(lambda: bench.subject.phase == "ready")


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


async def test_a_start_that_never_ends_is_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "START_LIMIT_S", 0.3)
    bench.program = "import time; time.sleep(600)"
    bench.start()
    await bench.until(lambda: bench.subject.restarts == 1)
    assert "vLLM was not ready after 0 s" in caplog.text
    assert any("vLLM starting" in line for line in bench.lines)


async def test_a_model_that_cannot_be_had_is_tried_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: Any) -> str:
        raise EngineError("the hub cannot be reached")

    monkeypatch.setattr(supervisor, "prepare", fail)
    bench.start()
    await bench.until(lambda: bench.subject.restarts >= 2)
    assert "tiny: the hub cannot be reached; next start in" in caplog.text


def test_backoff_doubles_up_to_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_S", 1.0)
    assert [backoff_s(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 8, 10_000)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_a_socket_fits_into_the_private_folder_wherever_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    (tmp_path / ("x" * 100)).mkdir()
    assert len(str(runtime_folder() / ("u" * 36))) <= 107
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run")
    monkeypatch.setattr(supervisor.os, "access", lambda *_: True)
    assert runtime_folder().parent == Path("/run")
    assert runtime_folder() != runtime_folder()


def test_the_log_of_the_last_start_is_kept_beside(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "tiny-0.log"
    new_log(path).write_text("first")
    new_log(path).write_text("second")
    assert (path.read_text(), Path(f"{path}.1").read_text()) == ("second", "first")


def test_a_log_that_grows_too_long_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT_BYTES", 10)
    path = tmp_path / "log"
    with path.open("ab", buffering=0) as file:
        file.write(b"0123456789")
        bound_log(path)
        assert path.stat().st_size == 10
        file.write(b"x")
        bound_log(path)
        file.write(b"next")
    assert path.read_bytes() == b"next"
    assert Path(f"{path}.1").read_bytes() == b"0123456789x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("starting\nbye\n\n", "bye"),
        (
            "(EngineCore pid=7) ERROR 11-23 08:00:00 [core.py:9] Traceback (most recent call last):\n"
            "(EngineCore pid=7) ERROR 11-23 08:00:00 [core.py:9] torch.OutOfMemoryError: CUDA out of memory: 2 GiB\n"
            "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n",
            "torch.OutOfMemoryError: CUDA out of memory: 2 GiB",
        ),
        ("usage: api_server.py\napi_server.py: error: unrecognized arguments: --x\n",
         "api_server.py: error: unrecognized arguments: --x"),
    ],
)  # fmt: skip
def test_last_words_name_the_cause(text: str, words: str) -> None:
    assert last_words(text) == words
