"""Starts of an engine of their own: `make test-engines` runs these, `make test` does not."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.support.gateway import Gateway
from tests.support.processes import descendants, shared_memory, wait_for_vllm, wait_until_gone
from tests.support.workers import one_each
from tests.vllm.conftest import ANSWER_S, MODEL, START_S, managed_models

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]

pytestmark = pytest.mark.engines


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
def test_a_signal_while_the_engine_starts_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    with Gateway({"models": managed_models()}, tmp_path, own_state=False) as gateway:
        server = wait_for_vllm(gateway.process.pid)
        started = descendants(gateway.process.pid)
        gateway.process.send_signal(how)
        gateway.wait()
        wait_until_gone(started)
        assert not Path(server.socket).parent.exists(), "the runtime folder is removed"


def test_a_killed_api_server_takes_its_engine_core_along_and_comes_back(tmp_path: Path) -> None:
    """Started by itself; `test_restart.py` has the same for an engine that was forked."""
    env = {"SMALLFIRST_WARM_START": "false"}
    with Gateway({"models": managed_models()}, tmp_path, own_state=False, env=env) as gateway:
        gateway.wait_for_ready(START_S)
        server = wait_for_vllm(gateway.process.pid)
        before = [one for one in descendants(gateway.process.pid) if "grammar_worker" not in " ".join(one.command)]
        assert any("EngineCore" in one.command[0] for one in before), "the process that has the weights"
        memory = shared_memory(before)
        assert memory
        os.kill(server.pid, signal.SIGKILL)
        wait_until_gone(before)
        assert not any(file.exists() for file in memory)
        assert gateway.wait_for_ready(START_S)["models"][MODEL]["restarts"] == 1
        body = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 12}
        assert "Paris" in gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S).text


def test_two_workers_share_one_engine_and_end_with_it(tmp_path: Path) -> None:
    config = {"models": managed_models()}
    with Gateway(config, tmp_path, own_state=False, args=("--workers=2",)) as gateway:
        gateway.wait_for_ready(START_S)
        body = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 12}
        first = gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S)
        assert "Paris" in first.text
        with one_each(gateway) as connections:
            for connection in connections:
                status, headers, answer = connection.ask(body)
                assert (status, headers["x-smallfirst-model"]) == (200, MODEL)
                assert b"Paris" in answer
        started = descendants(gateway.process.pid)
        assert sum(process.serves_vllm for process in started) == 1
        gateway.terminate()
        gateway.wait()
        wait_until_gone(started)
