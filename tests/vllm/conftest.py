"""One real engine for all tests of this folder; those that kill it come last of the whole session."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from openai import OpenAI

from tests.support.gateway import ROOT, Gateway, run
from tests.support.lanes import LLM_PRICE, UPSTREAM_KEY
from tests.support.processes import Process, wait_for_vllm
from tests.support.upstream import Upstream
from tests.support.waiting import wait_until

MODEL = "smollm2-135m"
START_S = 1800.0
"""the first start converts the weights and fills vLLM's caches; on two quiet cores that takes two minutes"""
ANSWER_S = 600.0
"""for an answer of the engine, which takes seconds on two quiet cores"""
NEVER_SILENT = (
    "from server.http import keepalive; assert keepalive.COMMENT_INTERVAL_S; keepalive.COMMENT_INTERVAL_S = 86400.0"
)
"""a held stream's headers tell how it ended; on a slow machine they would leave with a comment before that"""
FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is fast comes first, what needs the engine next, what kills it last."""
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(2 * START_S + 1800))
    items.sort(key=lambda item: (FOLDER in item.path.parents, item.path.name == "test_restart.py"))


@pytest.fixture(scope="session")
def fallback() -> Iterator[Upstream]:
    """A scripted large model."""
    with Upstream() as upstream:
        yield upstream


def managed_models() -> dict[str, Any]:
    """The small model as the project ships it, on a machine however slow."""
    entry = yaml.safe_load((ROOT / "models.yaml").read_text())["models"][MODEL]
    limits = {"first_byte_s": ANSWER_S, "idle_s": ANSWER_S, "total_s": ANSWER_S}
    return {MODEL: {key: value for key, value in entry.items() if key != "requires"} | {"timeouts": limits}}


@pytest.fixture(scope="session")
def gateway(fallback: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    big = {"tier": "llm", "engine": "openai", "base_url": fallback.url("big"), "api_key": UPSTREAM_KEY}
    config = {
        "models": managed_models() | {"big": big | {"price": LLM_PRICE}},
        "routes": {
            "auto": {"ladder": [MODEL, "big"]},
            "alone": {"ladder": [MODEL]},
            "voting": {"ladder": [MODEL, "big"], "policy": "cascade", "samples": 3, "min_confidence": 0.1},
            "early": {"ladder": [MODEL, "big"], "policy": "cascade", "evidence": "evidence.json"}
            | {"min_confidence": 0.95},
        },
    }
    folder = tmp_path_factory.mktemp("vllm")
    made = Gateway(config, folder, own_state=False, patch=NEVER_SILENT)
    calibrate(made.config, folder)
    with made as running:
        running.at_first = running.http.get("/ready")
        running.wait_for_ready(START_S)
        yield running


def calibrate(config: Path, folder: Path) -> None:
    """Learn for the route `early`, from calls whose beginnings are all alike: three in four end surely, and well."""
    lines = []
    for number in range(80):
        good = number % 4 > 0
        logprobs = [-0.1] * 4 + [-0.001 if good else -5.0]
        tokens = [{"token": "word ", "logprob": logprob} for logprob in logprobs]
        choice = {"message": {"content": "word " * 5}, "logprobs": {"content": tokens}}
        request = {"messages": [{"role": "user", "content": f"Tell me story {number}."}]}
        answers = {MODEL: {"quality": float(good), "choice": choice}, "big": {}}
        lines.append(json.dumps({"request": request, "answers": answers}))
    (folder / "calls.jsonl").write_text("\n".join(lines))
    files = (f"--config={config}", f"--data={folder / 'calls.jsonl'}", f"--out={folder / 'evidence.json'}")
    done = run("calibrate", *files, "--route=early", "--beginning=4", folder=folder)
    assert done.returncode == 0, done.stderr


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "gateway" in request.fixturenames and (gateway := request.getfixturevalue("gateway")).running:
        gateway.assert_idle()


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S) as made:
        yield made


class Engine:
    """vLLM itself, asked directly over its Unix socket."""

    def __init__(self, process: Process) -> None:
        self.process = process
        transport = httpx.HTTPTransport(uds=process.socket)
        self._http = httpx.Client(transport=transport, base_url="http://vllm", timeout=ANSWER_S)

    def running(self) -> int:
        """Return how many requests it works on."""
        return self._sum("vllm:num_requests_running")

    def tokens(self) -> int:
        """Return how many tokens it has generated."""
        return self._sum("vllm:generation_tokens_total")

    def wait_running(self, count: int) -> None:
        wait_until(lambda: self.running() == count, f"vLLM runs {count} requests")

    def _sum(self, name: str) -> int:
        lines = self._http.get("/metrics").text.splitlines()
        return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{")))

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def engine(gateway: Gateway) -> Iterator[Engine]:
    asked = Engine(wait_for_vllm(gateway.process.pid))
    yield asked
    asked.close()
