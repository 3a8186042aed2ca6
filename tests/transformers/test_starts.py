"""Starts of an engine of their own: `make test-engines` runs these, `make test` does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.caller import Caller
from tests.support.gateway import ROOT, Gateway
from tests.support.processes import descendants, wait_for_vllm, wait_until_gone
from tests.support.tiny_hymba import ANSWER, make_tiny_hymba
from tests.support.tiny_llama import CONTEXT
from tests.support.waiting import wait_until
from tests.transformers.conftest import ANSWER_S, MODEL, START_S, managed

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]

pytestmark = pytest.mark.engines


def ask(gateway: Gateway, **fields: Any) -> Any:
    body = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 12} | fields
    return gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S)


def test_an_engine_that_is_killed_comes_back_and_none_is_left(tiny_llama: Path, tmp_path: Path) -> None:
    with Gateway({"models": {MODEL: managed(tiny_llama)}}, tmp_path) as gateway:
        gateway.wait_for_ready(START_S)
        first = wait_for_vllm(gateway.process.pid)
        body = {"model": MODEL, "messages": QUESTION, "stream": True, "logit_bias": {"258": -100}}
        with Caller(gateway, body) as caller:
            caller.socket.settimeout(ANSWER_S)
            caller.read_until(b'"content"')
            os.kill(first.pid, signal.SIGKILL)
            caller.read_until(b'"error"')
            caller.read_to_end()
            assert b"[DONE]" not in caller.received
        gateway.wait_for_ready(status="unavailable")
        assert ask(gateway).status_code == 503
        ready = gateway.wait_for_ready(START_S)
        assert ready["models"][MODEL]["restarts"] == 1
        assert "transformers was ended by SIGKILL" in gateway.output
        assert ask(gateway).status_code == 200
        started = descendants(gateway.process.pid)
        folder = Path(wait_for_vllm(gateway.process.pid).socket).parent
        gateway.terminate()
        gateway.wait()
        wait_until_gone([first, *started])
        assert not folder.exists(), "the runtime folder is removed"


def test_a_gateway_that_is_killed_leaves_no_engine(tiny_llama: Path, tmp_path: Path) -> None:
    with Gateway({"models": {MODEL: managed(tiny_llama)}}, tmp_path) as gateway:
        wait_for_vllm(gateway.process.pid)
        started = descendants(gateway.process.pid)
        gateway.kill()
        wait_until_gone(started)


def test_the_models_own_code_runs_if_the_user_says_so(tmp_path: Path) -> None:
    source = make_tiny_hymba(tmp_path / "hymba")
    models = {MODEL: managed(source, transformers_args={"trust_remote_code": True})}
    with Gateway({"models": models}, tmp_path) as gateway:
        ready = gateway.wait_for_ready(START_S)
        assert "runs the model's own code" in ready["models"][MODEL]["limits"]
        choices = ask(gateway, n=2).json()["choices"]
        assert [choice["message"]["content"] for choice in choices] == [ANSWER] * 2
        assert choices[0]["finish_reason"] == "stop"


def test_otherwise_it_does_not_run(tmp_path: Path) -> None:
    source = make_tiny_hymba(tmp_path / "hymba")
    (source / "modeling_hymba.py").write_text("print('it ran')")
    with Gateway({"models": {MODEL: managed(source)}}, tmp_path) as gateway:
        wait_until(lambda: "write `transformers_args: {trust_remote_code: true}`" in gateway.output, "it is said")
        assert gateway.http.get("/ready").status_code == 503
        [log] = (tmp_path / "state" / "logs").glob(f"{MODEL}-0.log*")
        assert "it ran" not in log.read_text()


def test_an_interpreter_of_another_environment(tiny_llama: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    [packages] = (tmp_path / "venv").glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(sysconfig.get_path("purelib"))
    python = str(tmp_path / "venv" / "bin" / "python")
    models = {MODEL: managed(tiny_llama, transformers_args={"python": python})}
    with Gateway({"models": models}, tmp_path, env={"PYTHONPATH": str(ROOT)}) as gateway:
        gateway.wait_for_ready(START_S)
        server = wait_for_vllm(gateway.process.pid)
        assert server.command[0] == python
        environment = Path(f"/proc/{server.pid}/environ").read_text()
        assert "PYTHONPATH" not in environment, "the gateway's packages are not to hide those of the other environment"
        assert ask(gateway).status_code == 200


def test_a_context_that_the_model_does_not_have(tiny_llama: Path, tmp_path: Path) -> None:
    with Gateway({"models": {MODEL: managed(tiny_llama, context=CONTEXT + 1)}}, tmp_path) as gateway:
        wait_until(
            lambda: f"`context: {CONTEXT + 1}` is more than the model's {CONTEXT} tokens" in gateway.output,
            "it is said",
        )


def test_real_weights_from_a_python_package(tmp_path: Path) -> None:
    """The model that `make serve` starts, without vLLM: the conversion is the same, so it is there already."""
    source = yaml.safe_load((ROOT / "models.yaml").read_text())["models"]["smollm2-135m"]["source"]
    with Gateway({"models": {MODEL: managed(source)}}, tmp_path, own_state=False) as gateway:
        gateway.wait_for_ready(2 * START_S)
        answer = ask(gateway).json()
        assert "Paris" in answer["choices"][0]["message"]["content"]
        schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}
        format_ = {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": schema | {"additionalProperties": False}},
        }
        messages = [{"role": "user", "content": "Extract the age as JSON: John Smith is 42 years old."}]
        answer = ask(gateway, messages=messages, response_format=format_, max_tokens=30).json()
        assert "42" in answer["choices"][0]["message"]["content"]
