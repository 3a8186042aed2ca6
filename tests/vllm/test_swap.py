"""Two models that take turns on a real vLLM: `make test-engines` runs this, `make test` does not."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.processes import descendants
from tests.support.tiny_llama import make_tiny_llama
from tests.support.waiting import wait_until
from tests.vllm.conftest import ANSWER_S, START_S

pytestmark = pytest.mark.engines

LIMITS = {"first_byte_s": ANSWER_S, "idle_s": ANSWER_S, "total_s": ANSWER_S, "load_s": START_S}
KEEP_ALIVE = "from server.http import keepalive; keepalive.COMMENT_INTERVAL_S = 1.0"


def ask(gateway: Gateway, model: str, **fields: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}
    return gateway.http.post("/v1/chat/completions", json=body | fields, timeout=START_S)


def served(gateway: Gateway) -> set[str]:
    """The models that have an API server."""
    running = [process.command for process in descendants(gateway.process.pid) if process.serves_vllm]
    return {command[command.index("--served-model-name") + 1] for command in running}


def test_two_models_take_turns_in_memory(tmp_path: Path) -> None:
    models = {
        name: {
            "tier": "slm",
            "engine": "vllm",
            "source": str(make_tiny_llama(tmp_path / name)),
            "context": 512,
            "timeouts": LIMITS,
        }
        for name in "ab"
    }
    config = {"models": models, "swap": {"small": {"models": ["a", "b"], "keep": 1, "turn_s": 1}}}
    with Gateway(config, tmp_path / "gateway", patch=KEEP_ALIVE) as gateway:
        assert gateway.http.get("/ready").json()["status"] == "ready"
        assert served(gateway) == set()
        first = {name: ask(gateway, name).json()["choices"][0]["message"]["content"] for name in "ab"}
        wait_until(lambda: served(gateway) == {"b"})
        answers: list[Any] = []
        both = [Thread(target=lambda name=name: answers.append((name, ask(gateway, name)))) for name in "abab"]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        for name, answer in answers:
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-smallfirst-model"] == name
            assert answer.json()["choices"][0]["message"]["content"] == first[name], "the same weights again"
        [name] = served(gateway)
        other = "a" if name == "b" else "b"
        body = {"model": other, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "stream": True}
        with gateway.http.stream("POST", "/v1/chat/completions", json=body, timeout=START_S) as stream:
            lines = [line for line in stream.iter_lines() if line]
        assert lines[0] == ": waiting", "the load takes longer than a second"
        assert json.loads(lines[-2].removeprefix(": smallfirst "))["model"] == other
        assert lines[-1] == "data: [DONE]"
        metrics = gateway.metrics()
        assert metrics.value("smallfirst_model_loads_total") >= 4
        assert metrics.value("smallfirst_replica_restarts_total") == 0
