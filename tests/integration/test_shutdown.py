"""SIGTERM: no new caller gets in, who is in gets the rest of the answer, then the process ends."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import httpx
import pytest

from tests.support.caller import Caller
from tests.support.gateway import Gateway
from tests.support.lanes import Lane, models_yaml, usual
from tests.support.upstream import DONE, HANG, Gate, Upstream, delta, finished, first, raw, respond, stream


def wait_refused(gateway: Gateway, timeout: float = 5.0) -> None:
    end = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection(("127.0.0.1", gateway.port), timeout=1).close()
        except ConnectionError:
            return
        assert time.monotonic() < end, "new connections are still accepted"
        time.sleep(0.02)


def start(upstream: Upstream, folder: Path, **env: str) -> Gateway:
    return Gateway(models_yaml(upstream, 1, usual), folder, env=env)


def test_a_running_stream_gets_its_end(upstream: Upstream, tmp_path: Path) -> None:
    gate = Gate()
    with start(upstream, tmp_path) as gateway:
        lane = Lane(0, gateway, upstream)
        lane.slm.then(stream(first(), delta("begun"), gate, delta(" and done"), finished(), DONE))
        with Caller(gateway, lane.body(stream=True)) as caller:
            caller.read_until(b'"begun"')
            gateway.terminate()
            wait_refused(gateway)
            assert gateway.running, "it waits for the stream"
            gate.set()
            assert b" and done" in caller.read_until(b"data: [DONE]")
        assert gateway.wait(5) in (0, -15)


def test_a_running_whole_answer_gets_its_end(upstream: Upstream, tmp_path: Path) -> None:
    gate = Gate()
    with start(upstream, tmp_path) as gateway:
        lane = Lane(0, gateway, upstream)
        choice = {"index": 0, "message": {"role": "assistant", "content": "late"}, "finish_reason": "stop"}
        lane.slm.then(respond(200, {"choices": [choice]}, before=(gate,)))
        count = len(lane.slm.calls)
        with Caller(gateway, lane.body()) as caller:
            lane.slm.wait_for_calls(count + 1)
            gateway.terminate()
            wait_refused(gateway)
            gate.set()
            assert b"late" in caller.read_until(b"late")
        assert gateway.wait(5) in (0, -15)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_idle_it_ends_at_once(upstream: Upstream, tmp_path: Path, how: signal.Signals) -> None:
    with start(upstream, tmp_path) as gateway:
        keep_alive = httpx.Client(base_url=gateway.url, trust_env=False)
        assert keep_alive.get("/health").status_code == 200
        began = time.monotonic()
        gateway.process.send_signal(how)
        assert gateway.wait(5) in (0, -how, 128 + how)
        assert time.monotonic() - began < 3
        keep_alive.close()


def test_the_grace_has_an_end(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path, SMALLFIRST_SHUTDOWN_GRACE_S="1") as gateway:
        lane = Lane(0, gateway, upstream)
        lane.slm.then(raw(HANG))
        count = len(lane.slm.calls)
        with Caller(gateway, lane.body()):
            lane.slm.wait_for_calls(count + 1)
            began = time.monotonic()
            gateway.terminate()
            assert gateway.wait(10) is not None
            assert time.monotonic() - began < 5
            lane.slm.last.wait_closed(1)
