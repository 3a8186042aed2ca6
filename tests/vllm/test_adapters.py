"""LoRA adapters in a real vLLM: a tiny Llama with random weights, and random adapters. Part of `make test-engines`."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway
from tests.support.lora import write_adapter
from tests.support.processes import wait_for_vllm
from tests.support.tiny_llama import ENDLESS, make_tiny_llama
from tests.support.waiting import wait_until
from tests.vllm.conftest import ANSWER_S, START_S

pytestmark = pytest.mark.engines

BASE = "tiny"


class Served:
    """A gateway with one replica of the tiny model and two adapters."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway = gateway
        self.orders = folder / "orders"

    def ask(self, model: str, **fields: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "temperature": 0, "max_tokens": 16}
        return self.gateway.http.post("/v1/chat/completions", json=body | ENDLESS | fields, timeout=ANSWER_S)

    def text(self, model: str) -> str:
        reply = self.ask(model)
        assert reply.status_code == 200, reply.text
        assert reply.headers["x-smallfirst-model"] == model
        return reply.json()["choices"][0]["message"]["content"]

    def version(self) -> str:
        """Return the name at the engine of the version of `orders` that answers."""
        return self.ask("orders").json()["model"]

    def loaded(self) -> set[str]:
        """Return the names that the engine itself knows."""
        socket = wait_for_vllm(self.gateway.process.pid).socket
        with httpx.Client(transport=httpx.HTTPTransport(uds=socket), base_url="http://vllm") as engine:
            return {model["id"] for model in engine.get("/v1/models").json()["data"]}

    def ready(self) -> dict[str, Any]:
        return self.gateway.http.get("/ready").json()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("adapters")
    model = {
        "tier": "slm",
        "engine": "vllm",
        "source": str(make_tiny_llama(folder / "llama")),
        "context": 512,
        "vllm_args": {"max_num_seqs": 8},
        "adapters": {name: str(write_adapter(folder / name, seed)) for seed, name in enumerate(("orders", "tickets"))},
        "price": {"replica_hour_usd": 3.6},
        "timeouts": {"first_byte_s": ANSWER_S, "idle_s": ANSWER_S, "total_s": ANSWER_S},
    }
    config = {"models": {BASE: model}, "routes": {"auto": {"ladder": ["orders", BASE]}}}
    with Gateway(config, folder / "gateway") as gateway:
        gateway.wait_for_ready(START_S)
        yield Served(gateway, folder)


def test_a_model_and_its_adapters_answer_differently_on_one_replica(served: Served) -> None:
    texts = {model: served.text(model) for model in (BASE, "orders", "tickets")}
    assert len(set(texts.values())) == 3
    assert texts == {model: served.text(model) for model in texts}
    assert served.ask("auto").headers["x-smallfirst-model"] == "orders"
    parents = {one["id"]: one.get("parent") for one in served.gateway.http.get("/v1/models").json()["data"]}
    assert parents == {"auto": None, BASE: None, "orders": BASE, "tickets": BASE}
    metrics = served.gateway.metrics()
    assert metrics.value("smallfirst_replicas_up", model="orders") == 1
    assert metrics.value("smallfirst_replica_paid_usd_total", model=BASE, replica=f"{BASE}/0") > 0
    assert metrics.value("smallfirst_replica_paid_usd_total", model="orders", replica=f"{BASE}/0") == 0


def test_a_stream_says_the_same(served: Served) -> None:
    lines = served.ask("orders", stream=True).text.splitlines()
    events = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"]) == (
        served.text("orders")
    )
    assert {event["model"] for event in events} == {served.version()}
    assert lines[-2] == "data: [DONE]"


def test_changed_files_are_served_and_no_request_fails(served: Served) -> None:
    before, text = served.version(), served.text("orders")
    assert before in served.loaded()
    replies: list[httpx.Response] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            replies.append(served.ask("orders", max_tokens=64))

    threads = [threading.Thread(target=keep_asking) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        write_adapter(served.orders, seed=7)
        wait_until(lambda: replies[-1:] and replies[-1].json()["model"] != before, "the new version answers")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert {reply.status_code for reply in replies} == {200}
    after = served.version()
    assert {reply.json()["model"] for reply in replies} == {before, after}
    assert served.text("orders") != text
    wait_until(lambda: before not in served.loaded(), "the old version is unloaded")
    assert after in served.loaded()


def test_a_version_that_vllm_refuses_changes_nothing(served: Served) -> None:
    before = served.version()
    write_adapter(served.orders, seed=8, rank=64)
    wait_until(lambda: "refused" in served.ready()["models"]["orders"].get("detail", ""), "it is refused")
    assert "LoRA rank 64 is greater than max_lora_rank 8" in served.gateway.output
    assert served.ready()["status"] == "ready"
    assert served.version() == before
    write_adapter(served.orders, seed=7)
    wait_until(lambda: "detail" not in served.ready()["models"]["orders"], "it is as before")
    assert served.version() == before


def test_an_engine_that_is_killed_comes_back_with_its_adapters(served: Served) -> None:
    texts = {model: served.text(model) for model in (BASE, "orders", "tickets")}
    os.kill(wait_for_vllm(served.gateway.process.pid).pid, signal.SIGKILL)
    served.gateway.wait_for_ready(status="unavailable")
    assert served.ready()["models"]["orders"]["up"] == 0
    served.gateway.wait_for_ready(START_S)
    assert texts == {model: served.text(model) for model in texts}
    assert served.ready()["models"][BASE]["restarts"] == 1
