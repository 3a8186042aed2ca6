"""What dies is started again; what is killed leaves nothing behind. These tests end the engine, so they come last."""

from __future__ import annotations

import os
import signal
from typing import Any

from tests.support.caller import Caller
from tests.support.gateway import Gateway
from tests.support.processes import Process, descendants, shared_memory, wait_for_vllm, wait_until_gone
from tests.support.upstream import Upstream
from tests.vllm.conftest import ANSWER_S, MODEL, START_S, Engine

WARM_PARENT = ("smallfirst:", "has", "loaded")
QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


def ask(gateway: Gateway, model: str) -> Any:
    body = {"model": model, "messages": QUESTION, "temperature": 0, "max_tokens": 12}
    return gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S)


def stays(process: Process) -> bool:
    """Whether a process of the gateway outlives an engine: what checks grammars, and what engines are forked from."""
    return "router.structured.grammar_worker" in process.command or process.command[:3] == WARM_PARENT


def test_an_engine_that_is_killed_comes_back(gateway: Gateway, engine: Engine, fallback: Upstream) -> None:
    body = {"model": MODEL, "messages": QUESTION, "max_tokens": 1900, "ignore_eos": True, "stream": True}
    before = [one for one in descendants(gateway.process.pid) if not stays(one)]
    assert any("EngineCore" in one.command[0] for one in before), "the process that has the weights"
    memory = shared_memory(before)
    with Caller(gateway, body) as caller:
        caller.socket.settimeout(ANSWER_S)
        caller.read_until(b'"content"')
        os.kill(engine.process.pid, signal.SIGKILL)
        caller.read_until(b'"error"')
        caller.read_to_end()
        assert b"[DONE]" not in caller.received
    # the fallback serves, the model alone cannot, and /ready says why
    ready = gateway.wait_for_ready(status="degraded")
    assert ready["models"][MODEL]["up"] == 0
    assert ready["models"][MODEL]["detail"]
    reply = ask(gateway, "auto")
    assert reply.status_code == 200
    assert reply.headers["x-smallfirst-model"] == "big"
    assert reply.headers["x-smallfirst-reason"] == "unavailable"
    for name in (MODEL, "alone"):
        refused = ask(gateway, name)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "model_unavailable"
        assert int(refused.headers["retry-after"]) >= 1
    assert gateway.metrics().value("smallfirst_replicas_up", model=MODEL) == 0
    # the old one is gone to its last process, and a new one answers
    wait_until_gone(before)
    assert not any(file.exists() for file in memory)
    ready = gateway.wait_for_ready(START_S)
    assert ready["models"][MODEL]["restarts"] == 1
    assert gateway.metrics().value("smallfirst_replica_restarts_total", model=MODEL) == 1
    reply = ask(gateway, "auto")
    assert reply.headers["x-smallfirst-model"] == MODEL
    assert "Paris" in reply.json()["choices"][0]["message"]["content"]


def test_a_gateway_that_is_killed_leaves_no_engine(gateway: Gateway) -> None:
    server = wait_for_vllm(gateway.process.pid)
    started = descendants(gateway.process.pid)
    assert len(started) > 3, "guards, the API server and its workers"
    gateway.kill()
    wait_until_gone(started)
    assert not server.alive
