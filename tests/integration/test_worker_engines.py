"""Several workers in front of a vLLM that the gateway supervises; a small server stands in for it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import gateway as gateways
from tests.support.gateway import Gateway
from tests.support.processes import Process, descendants, wait_until_gone
from tests.support.waiting import wait_until
from tests.support.workers import fleet, one_each

ENGINE = """
import os, socket, sys, time
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[sys.argv.index("--uds") + 1])
server.listen()
while True:
    client, _ = server.accept()
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n")
    client.close()
"""
SERVE = """
import os, sys
from router.engine import supervisor
from router.engine.command import Launch
from router.engine.launchers import LAUNCHERS
from server import cli
from server.commands import base

async def prepared(*_):
    return "/models/tiny"

def launch(model, index, path, socket, host):
    return Launch((sys.executable, "-c", ENGINE, "--uds", str(socket)), dict(os.environ))

supervisor.prepare, LAUNCHERS["vllm"].launch, base.check_managed = prepared, launch, lambda _: None
supervisor.STARTING_POLL_S = supervisor.READY_POLL_S = 0.05
sys.exit(cli.main())
"""
MODELS = "models: {tiny: {tier: slm, engine: vllm, source: owner/tiny}}"


@pytest.fixture
def supervising(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(gateways, "COMMAND", (sys.executable, "-c", SERVE.replace("ENGINE", repr(ENGINE))))
    with Gateway(MODELS, tmp_path, args=("--workers=2",)) as running:
        running.wait_for_ready()
        yield running


def engine(gateway: Gateway) -> Process | None:
    return next((process for process in descendants(gateway.process.pid) if process.serves_vllm), None)


def test_a_new_engine_starts_when_the_dead_fleets_is_gone(supervising: Gateway) -> None:
    first = engine(supervising)
    assert first is not None
    with one_each(supervising) as connections:
        os.kill(fleet(supervising).pid, signal.SIGKILL)
        wait_until(lambda: supervising.http.get("/ready").status_code == 503)
        for connection in connections:
            assert "restarting: its supervisor stopped" in connection.get("/ready")
        while (second := engine(supervising)) is None or second == first:
            if second is None:
                assert not first.alive
        assert not first.alive, "two would not fit on a GPU"
        supervising.wait_for_ready()
        for connection in connections:
            assert '"restarts":1' in connection.get("/ready")
    assert supervising.metrics().value("smallfirst_replica_restarts_total", model="tiny") == 1


def test_an_engine_that_dies_is_started_again_and_counted_for_all(supervising: Gateway) -> None:
    first = engine(supervising)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    with one_each(supervising) as connections:
        for connection in connections:
            wait_until(lambda one=connection: '"restarts":1' in one.get("/ready"))  # type: ignore[misc]
    supervising.wait_for_ready()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_engine_ends_with_the_parent(supervising: Gateway, number: signal.Signals) -> None:
    everybody = descendants(supervising.process.pid)
    assert engine(supervising) in everybody
    supervising.process.send_signal(number)
    supervising.wait()
    wait_until_gone(everybody)


def test_the_engines_terminal_signals_are_as_ever(supervising: Gateway) -> None:
    """The fleet itself passes them over; what it starts must not."""
    first = engine(supervising)
    assert first is not None
    status = Path(f"/proc/{first.pid}/status").read_text()
    ignored = int(status.partition("SigIgn:")[2].split()[0], 16)
    blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        assert not (ignored | blocked) & 1 << (number - 1)
