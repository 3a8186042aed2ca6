"""`engine: transformers` for real: a tiny Llama in a process that the gateway starts. Only torch runs, no vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from tests.support.gateway import Gateway
from tests.support.lanes import LLM_PRICE, UPSTREAM_KEY
from tests.support.tiny_llama import make_tiny_llama
from tests.support.upstream import Upstream

MODEL = "tiny"
START_S = 300.0
"""a start imports torch, which takes five seconds on a quiet machine"""
ANSWER_S = 600.0
"""for an answer, which takes a second on a quiet machine"""
FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if FOLDER in item.path.parents:
            item.add_marker(pytest.mark.timeout(2 * START_S + 2 * ANSWER_S))


def managed(source: Path | str, **fields: Any) -> dict[str, Any]:
    """The entry of a model that the gateway serves by transformers, on a machine however slow."""
    limits = {"first_byte_s": ANSWER_S, "idle_s": ANSWER_S, "total_s": ANSWER_S}
    return {"tier": "slm", "engine": "transformers", "source": str(source), "timeouts": limits} | fields


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llama(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def fallback() -> Iterator[Upstream]:
    """A scripted large model."""
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def gateway(tiny_llama: Path, fallback: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    big = {"tier": "llm", "engine": "openai", "base_url": fallback.url("big"), "api_key": UPSTREAM_KEY}
    models = {MODEL: managed(tiny_llama), "big": big | {"price": LLM_PRICE}}
    with Gateway(
        {"models": models, "routes": {"auto": {"ladder": [MODEL, "big"]}}}, tmp_path_factory.mktemp("gateway")
    ) as running:
        running.at_first = running.http.get("/ready")
        running.wait_for_ready(START_S)
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S) as made:
        yield made
