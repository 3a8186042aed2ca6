"""Two workers, two replicas and an adapter whose files change; small servers stand in for vLLM.

They know only the names that they have loaded. So a request for a version that is unloaded too early fails.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import gateway as gateways
from tests.support.gateway import Gateway
from tests.support.lora import write_adapter
from tests.support.processes import descendants
from tests.support.waiting import wait_until
from tests.support.workers import fleet, one_each

ENGINE = """
import json, socketserver, sys
from http.server import BaseHTTPRequestHandler

names = {"tiny"}

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return ""

    def do_GET(self):
        self.answer(200, {})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path.endswith("/load_lora_adapter"):
            names.add(body["lora_name"])
            return self.answer(200, {})
        if self.path.endswith("/unload_lora_adapter"):
            names.discard(body["lora_name"])
            return self.answer(200, {})
        if body["model"] not in names:
            return self.answer(404, {"error": {"message": "no such model", "type": "NotFoundError", "code": 404}})
        choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
        self.answer(200, {"id": "x", "model": body["model"], "choices": [choice], "usage": usage})

    def answer(self, status, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

Server(sys.argv[sys.argv.index("--uds") + 1], Handler).serve_forever()
"""
SERVE = """
import os, sys
from router.adapters import model_adapters
from router.engine import supervisor
from router.engine.command import Launch
from router.engine.launchers import LAUNCHERS
from server import cli
from server.commands import base

async def prepared(*_):
    return "/models/tiny"

def launch(model, index, path, socket, host):
    assert model.vllm_args["enable_lora"]
    return Launch((sys.executable, "-c", ENGINE, "--uds", str(socket)), dict(os.environ))

supervisor.prepare, LAUNCHERS["vllm"].launch, base.check_managed = prepared, launch, lambda _: None
supervisor.STARTING_POLL_S = supervisor.READY_POLL_S = model_adapters.LOOK_INTERVAL_S = 0.05
sys.exit(cli.main())
"""
BODY = {"model": "orders", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(gateways, "COMMAND", (sys.executable, "-c", SERVE.replace("ENGINE", repr(ENGINE))))
    model = {
        "tier": "slm",
        "engine": "vllm",
        "source": "owner/tiny",
        "replicas": 2,
        "adapters": {"orders": str(write_adapter(tmp_path / "orders", 1))},
        "price": {"replica_hour_usd": 3.6},
    }
    with Gateway({"models": {"tiny": model}}, tmp_path, args=("--workers=2",)) as running:
        running.wait_for_ready()
        yield running


def ask(gateway: Gateway) -> httpx.Response:
    return gateway.http.post("/v1/chat/completions", json=BODY)


def version(gateway: Gateway) -> str:
    reply = ask(gateway)
    assert reply.status_code == 200, reply.text
    assert reply.headers["x-smallfirst-model"] == "orders"
    return str(reply.json()["model"])


def test_all_workers_switch_to_a_new_version_and_no_request_fails(served: Gateway, tmp_path: Path) -> None:
    before = version(served)
    assert before.startswith("orders@")
    replies: list[httpx.Response] = []
    stop = threading.Event()

    def keep_asking() -> None:
        with httpx.Client(base_url=served.url, headers={"connection": "close"}) as client:  # so both workers are asked
            while not stop.is_set():
                replies.append(client.post("/v1/chat/completions", json=BODY))

    threads = [threading.Thread(target=keep_asking) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for seed in (2, 3, 4):
            now = version(served)
            write_adapter(tmp_path / "orders", seed)
            wait_until(lambda now=now: version(served) != now, "the new version answers")  # type: ignore[misc]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {reply.status_code for reply in replies} == {200}
    with one_each(served) as connections:
        for connection in connections:
            status, headers, answer = connection.ask(BODY)
            assert (status, headers["x-smallfirst-model"]) == (200, "orders")
            assert version(served).encode() in answer
    wait_until(lambda: len(list((tmp_path / "state" / "adapters" / "orders").iterdir())) == 1, "old copies are removed")


def test_money_and_load_count_once(served: Gateway) -> None:
    for _ in range(3):
        assert ask(served).status_code == 200
    metrics: Any = served.metrics()
    by_replica = [metrics.value("smallfirst_replica_paid_usd_total", model="tiny", replica=f"tiny/{i}") for i in (0, 1)]
    assert min(by_replica) > 0
    for number in (0, 1):
        assert metrics.value("smallfirst_replica_paid_usd_total", model="orders", replica=f"tiny/{number}") == 0
    assert metrics.value("smallfirst_tokens_total", model="orders", kind="prompt") == 30
    assert metrics.value("smallfirst_requests_total", route="orders", model="orders", outcome="ok") == 3


def test_adapters_come_back_with_a_replica_and_with_the_fleet(served: Gateway) -> None:
    before = version(served)
    engines = [process for process in descendants(served.process.pid) if process.serves_vllm]
    os.kill(engines[0].pid, signal.SIGKILL)
    wait_until(lambda: served.http.get("/ready").json()["models"]["orders"]["up"] == 1, "one is down")
    assert version(served) == before, "the other answers"
    served.wait_for_ready()
    os.kill(fleet(served).pid, signal.SIGKILL)
    wait_until(lambda: served.http.get("/ready").status_code == 503, "the fleet is down")
    assert ask(served).status_code == 503
    served.wait_for_ready()
    for _ in range(4):
        assert version(served) == before
