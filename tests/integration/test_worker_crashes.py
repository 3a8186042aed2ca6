"""Workers, the fleet and the parent end in every way; the rest goes on, or ends with them."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from router.replicas.breaker import FIRST_COOLDOWN_S
from tests.integration.test_shutdown import wait_refused
from tests.support import gateway as gateways
from tests.support.behaviours import HANG, Gate, error, raw, stream
from tests.support.caller import Caller
from tests.support.gateway import COMMAND, Gateway
from tests.support.lanes import Lane, models_yaml, usual
from tests.support.processes import wait_until_gone
from tests.support.stream_events import DONE, delta, finished, first
from tests.support.upstream import Upstream
from tests.support.waiting import PATIENCE_S, wait_until
from tests.support.workers import children, fleet, one_each, workers


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


def start(upstream: Upstream, folder: Path, *args: str, **env: str) -> Gateway:
    return Gateway(models_yaml(upstream, 1, usual), folder, env=env, args=("--workers=2", *args))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_worker_that_is_killed_takes_nothing_with_it(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path) as gateway, one_each(gateway) as [victim, other]:
        lane = Lane(0, gateway, upstream)
        for connection in (victim, other) * 10:
            assert connection.ask(lane.body())[0] == 200
        lane.expect(20, "requests_total", outcome="ok")
        gate = Gate()
        lane.slm.then(*[stream(first(), delta("held"), gate, finished(), DONE)] * 2)
        answer = victim.post(lane.body(stream=True))
        kept = other.post(lane.body(stream=True))
        lane.slm.wait_for_calls(22)
        assert lane.counter("replica_in_flight", model="slm-0") == 2

        served, broken, ended = 0, 0, threading.Event()

        def ask_all_the_time() -> None:
            nonlocal served, broken
            while not ended.is_set():  # a new connection may wait for the new worker, but none is refused
                with Caller(gateway, lane.body("llm")) as caller:
                    try:
                        caller.read_until(b"Paris.")
                        served += 1
                    except (AssertionError, ConnectionResetError):
                        broken += 1

        asking = threading.Thread(target=ask_all_the_time)
        asking.start()
        worked = lane.counter("replica_busy_seconds_total", model="slm-0")
        kill(victim.pid)
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
        wait_until(lambda: len(workers(gateway)) == 2)
        assert victim.pid not in [process.pid for process in workers(gateway)]
        # the count of what is in flight is exact again, and no counter has gone back
        wait_until(lambda: lane.counter("replica_in_flight", model="slm-0") == 1)
        assert lane.counter("requests_total", outcome="ok", model="slm-0") == 20
        assert lane.counter("replica_tokens_total", kind="prompt", model="slm-0", replica="slm-0/0") == 20 * 10
        assert lane.counter("replica_busy_seconds_total", model="slm-0") >= worked > 0
        gate.set()
        assert b"data: [DONE]" in kept.read()
        wait_until(lambda: served > 0, "somebody was served")
        ended.set()
        asking.join()
        assert broken <= 1, "the one that the dead worker had"
        with one_each(gateway) as successors:
            for connection in successors:
                assert connection.ask(lane.body())[0] == 200
            assert {other.pid} < {connection.pid for connection in successors}
        lane.expect(23, "requests_total", outcome="ok", model="slm-0")
        assert lane.counter("tokens_total", model="slm-0", kind="prompt") == 220, "the two streams' usage is not told"
        assert gateway.output.count("was ended by SIGKILL: restarting it") == 1


def test_a_worker_that_is_killed_while_it_tries_a_resting_replica_frees_it(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path) as gateway, one_each(gateway) as [victim, other]:
        lane = Lane(0, gateway, upstream)
        lane.slm.then(*[error(500)] * 3, raw(HANG))
        for _ in range(3):
            assert victim.ask(lane.body())[1]["x-smallfirst-attempts"] == "2"
        time.sleep(FIRST_COOLDOWN_S)
        victim.send(lane.body("slm"))
        lane.slm.wait_for_calls(4)
        assert other.ask(lane.body())[1]["x-smallfirst-reason"] == "unavailable"
        kill(victim.pid)
        wait_until(lambda: other.ask(lane.body())[1]["x-smallfirst-model"] == "slm-0")
        assert len(lane.slm.calls) == 5


def test_a_worker_that_keeps_dying_is_started_ever_more_slowly(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path) as gateway:
        with one_each(gateway) as [victim, other]:
            pid, times = victim.pid, []
            for _ in range(4):
                kill(pid)
                began = time.monotonic()
                while not (successor := {process.pid for process in workers(gateway)} - {other.pid, pid}):
                    time.sleep(0.01)
                times.append(time.monotonic() - began)
                [pid] = successor
            assert other.get("/health")
        assert times[3] > 0.7


def test_the_fleet_is_started_again_too_and_serving_goes_on(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path) as gateway:
        lane = Lane(0, gateway, upstream)
        gateway.wait_for_ready()
        before = fleet(gateway)
        probed = len(lane.slm.probes)
        kill(before.pid)
        assert lane.chat().status == 200
        wait_until(lambda: len(children(gateway)) == 3 and fleet(gateway).pid != before.pid)
        wait_until(lambda: len(lane.slm.probes) > probed)
        assert gateway.http.get("/ready").json()["status"] == "ready"
        assert gateway.output.count("smallfirst is ready at") == 1
        assert gateway.output.count("the fleet (process") == 1


def test_sigterm_drains_every_worker_and_ends_the_fleet_last(upstream: Upstream, tmp_path: Path) -> None:
    gate = Gate()
    with start(upstream, tmp_path) as gateway, one_each(gateway) as connections:
        lane = Lane(0, gateway, upstream)
        everybody, last = children(gateway), fleet(gateway)
        lane.slm.then(*[stream(first(), delta("begun"), gate, delta(" and done"), finished(), DONE)] * 2)
        answers = [connection.post(lane.body(stream=True)) for connection in connections]
        lane.slm.wait_for_calls(2)
        gateway.terminate()
        wait_refused(gateway)
        assert all(process.alive for process in everybody)
        gate.set()
        for answer in answers:
            assert b"data: [DONE]" in answer.read()
        wait_until(lambda: not any(process.alive for process in everybody if process != last))
        assert gateway.wait() in (0, -signal.SIGTERM)
        wait_until_gone(everybody)


def press_ctrl_c(gateway: Gateway) -> None:
    """A terminal signals all processes of the group."""
    os.killpg(gateway.process.pid, signal.SIGINT)


@pytest.fixture
def at_a_terminal(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    popen = subprocess.Popen
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", lambda *args, **kwargs: popen(*args, process_group=0, **kwargs))
        gateway = start(upstream, tmp_path).launch()
    gateway.start()
    yield gateway
    gateway.http.close()
    if gateway.running:
        gateway.kill()


def test_ctrl_c_drains_too(upstream: Upstream, at_a_terminal: Gateway) -> None:
    gateway = at_a_terminal
    gate = Gate()
    lane = Lane(0, gateway, upstream)
    everybody = children(gateway)
    lane.slm.then(stream(first(), delta("begun"), gate, finished(), DONE))
    with Caller(gateway, lane.body(stream=True)) as caller:
        caller.read_until(b'"begun"')
        press_ctrl_c(gateway)
        wait_refused(gateway)
        assert gateway.running
        gate.set()
        caller.read_until(b"data: [DONE]")
    assert gateway.wait() == 0
    wait_until_gone(everybody)
    assert "Traceback" not in gateway.output


def test_a_second_ctrl_c_waits_for_nobody(upstream: Upstream, at_a_terminal: Gateway) -> None:
    gateway = at_a_terminal
    lane = Lane(0, gateway, upstream)
    everybody = children(gateway)
    lane.slm.then(raw(HANG))
    with Caller(gateway, lane.body()):
        lane.slm.wait_for_calls(1)
        press_ctrl_c(gateway)
        wait_refused(gateway)
        press_ctrl_c(gateway)
        assert gateway.wait() == 0
    wait_until_gone(everybody)


def test_sigint_to_the_parent_alone_ends_all(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path) as gateway:
        everybody = children(gateway)
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.wait() == 0
        wait_until_gone(everybody)


def test_when_the_parent_is_killed_all_drain_and_nobody_is_left(upstream: Upstream, tmp_path: Path) -> None:
    gate = Gate()
    with start(upstream, tmp_path) as gateway, one_each(gateway) as [one, other]:
        lane = Lane(0, gateway, upstream)
        everybody = children(gateway)
        assert len(everybody) == 3
        lane.slm.then(stream(first(), delta("begun"), gate, finished(), DONE))
        answer = one.post(lane.body(stream=True))
        gateway.kill()
        wait_refused(gateway)
        gate.set()
        assert b"data: [DONE]" in answer.read()
        wait_until_gone(everybody)
        other.close()


def test_the_grace_has_an_end_for_workers(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path, SMALLFIRST_SHUTDOWN_GRACE_S="1") as gateway:
        lane = Lane(0, gateway, upstream)
        everybody = children(gateway)
        lane.slm.then(raw(HANG))
        with Caller(gateway, lane.body()):
            lane.slm.wait_for_calls(1)
            gateway.terminate()
            assert gateway.wait() is not None
            wait_until_gone(everybody)


@pytest.mark.parametrize("shares", [False, True], ids=["plain", "SO_REUSEPORT"])
def test_a_port_that_another_has_is_refused(upstream: Upstream, tmp_path: Path, shares: bool) -> None:
    config = tmp_path / "models.yaml"
    config.write_text("models: {slm: {tier: slm, engine: vllm, base_url: http://127.0.0.1:9/v1}}")
    with socket.create_server(("127.0.0.1", 0), reuse_port=shares) as taken:
        port = str(taken.getsockname()[1])
        done = gateways.run("serve", f"--config={config}", f"--port={port}", "--workers=2", folder=tmp_path)
    assert done.returncode == 2
    assert f"cannot serve on 127.0.0.1, port {port}: Address already in use" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_any_free_port_is_the_same_for_all(tmp_path: Path, host: str) -> None:
    config = tmp_path / "models.yaml"
    config.write_text("models: {slm: {tier: slm, engine: openai, base_url: http://127.0.0.1:9/v1}}")
    command = [*COMMAND, "serve", f"--config={config}", f"--host={host}", "--port=0", "--workers=3"]
    env = gateways.clean_env(tmp_path / "state", {})
    with subprocess.Popen(command, cwd=gateways.ROOT, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "is ready at" in line)
        port = int(line.partition("/v1")[0].rpartition(":")[2])
        for _ in range(9):
            client = http.client.HTTPConnection(host, port, timeout=PATIENCE_S)
            client.request("GET", "/health")
            assert client.getresponse().status == 200
            client.close()
        process.terminate()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode in (0, -signal.SIGTERM)


def test_a_connection_that_waits_for_a_dead_worker_is_served_by_its_successor(
    upstream: Upstream, tmp_path: Path
) -> None:
    with start(upstream, tmp_path) as gateway, one_each(gateway) as connections:
        os.kill(connections[0].pid, signal.SIGSTOP)
        waiting = [socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) for _ in range(16)]
        for client in waiting:
            client.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        kill(connections[0].pid)
        for client in waiting:
            with client:
                assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_the_parent_has_one_thread_and_serves_nobody(upstream: Upstream, tmp_path: Path) -> None:
    with start(upstream, tmp_path) as gateway:
        assert len(list(Path(f"/proc/{gateway.process.pid}/task").iterdir())) == 1
        with one_each(gateway) as connections:
            assert {one.pid for one in connections} == {process.pid for process in workers(gateway)}
