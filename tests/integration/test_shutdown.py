"""SIGTERM: no new caller gets in, who is in gets the rest of the answer, then the process ends."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.behaviours import HANG, Gate, raw, respond, stream
from tests.support.caller import Caller
from tests.support.gateway import Gateway
from tests.support.lanes import Lane, models_yaml, usual
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.upstream import Upstream
from tests.support.waiting import PATIENCE_S, wait_until


def wait_refused(gateway: Gateway) -> None:
    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S).close()
        except ConnectionError:
            return True
        return False

    wait_until(refused, "new connections are refused")


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def start(upstream: Upstream, folder: Path, **env: str) -> Gateway:
    return Gateway(models_yaml(upstream, 1, usual), folder, env=env)


def test_what_runs_gets_its_end(upstream: Upstream, tmp_path: Path) -> None:
    gate = Gate()
    choice = {"index": 0, "message": {"role": "assistant", "content": "late"}, "finish_reason": "stop"}
    with start(upstream, tmp_path) as gateway:
        lane = Lane(0, gateway, upstream)
        lane.slm.then(stream(first(), delta("begun"), gate, delta(" and done"), finished(), DONE))
        lane.llm.then(respond(200, {"choices": [choice]}, before=(gate,)))
        with Caller(gateway, lane.body(stream=True)) as streaming, Caller(gateway, lane.body("llm")) as waiting:
            streaming.read_until(b'"begun"')
            lane.llm.wait_for_calls(1)
            gateway.terminate()
            wait_refused(gateway)
            assert gateway.running, "it waits for both"
            gate.set()
            assert b" and done" in streaming.read_until(b"data: [DONE]")
            assert b"late" in waiting.read_until(b"late")
        assert gateway.wait() in (0, -signal.SIGTERM)


def test_idle_it_ends_at_once(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path) as gateway, httpx.Client(base_url=gateway.url, trust_env=False) as keeps_alive:
        assert keeps_alive.get("/health").status_code == 200
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.wait() in (0, -signal.SIGINT, 128 + signal.SIGINT), "the grace is longer than the test waits"


def test_the_grace_has_an_end(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path, SMALLFIRST_SHUTDOWN_GRACE_S="1") as gateway:
        lane = Lane(0, gateway, upstream)
        lane.slm.then(raw(HANG))
        with Caller(gateway, lane.body()):
            lane.slm.wait_for_calls(1)
            gateway.terminate()
            assert gateway.wait() is not None, "the upstream is silent for longer than the test waits"
            lane.slm.last.wait_closed()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_that_is_cut_off_ends_with_an_error(upstream: Upstream, tmp_path: Path, workers: int) -> None:
    env = {"SMALLFIRST_SHUTDOWN_GRACE_S": "1", "SMALLFIRST_WORKERS": str(workers)}
    with start(upstream, tmp_path, **env) as gateway:
        lane = Lane(0, gateway, upstream)
        lane.slm.then(stream(first(), delta("begun"), HANG))
        lane.llm.then(raw(HANG))
        with Caller(gateway, lane.body(stream=True)) as streaming, Caller(gateway, lane.body("llm")) as waiting:
            streaming.read_until(b'"begun"')
            lane.llm.wait_for_calls(1)
            gateway.terminate()
            received = streaming.read_until(b"0\r\n\r\n")
            assert streaming.socket.recv(1) == b"", "the connection is closed as it should be"
            assert b'"code": "shutting_down"' in received
            assert b"[DONE]" not in received
            answer = waiting.read_until(b"shutting_down").lower()
            assert answer.startswith(b"http/1.1 503 ")
            assert b"retry-after: 1\r\n" in answer
        assert gateway.wait() in (0, -signal.SIGTERM)
        assert gateway.output.count('"error_code":"shutting_down"') == 2
        lane.slm.last.wait_closed()
