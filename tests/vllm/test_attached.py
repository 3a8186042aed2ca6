"""vLLM that someone else runs: one engine behind two URLs is a pool of two replicas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.support.forwarder import Forwarder
from tests.support.gateway import Gateway
from tests.vllm.conftest import ANSWER_S, MODEL, Engine

QUESTION: Any = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture
def ports(engine: Engine) -> Iterator[list[Forwarder]]:
    with Forwarder(engine.process.socket) as a, Forwarder(engine.process.socket) as b:
        yield [a, b]


@pytest.fixture
def attached(ports: list[Forwarder], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    model = {
        "tier": "slm",
        "engine": "vllm",
        "base_url": [port.url for port in ports],
        "upstream_model": MODEL,
        "context": 2048,
        "timeouts": {"first_byte_s": ANSWER_S, "idle_s": ANSWER_S, "total_s": ANSWER_S},
    }
    config = {"models": {"pair": model}, "routes": {"auto": {"ladder": ["pair"]}}}
    with Gateway(config, tmp_path_factory.mktemp("attached")) as running:
        running.wait_for_ready()
        yield running


def test_a_conversation_has_a_replica_and_goes_on_at_the_other(attached: Gateway, ports: list[Forwarder]) -> None:
    with OpenAI(base_url=f"{attached.url}/v1", api_key="none", max_retries=0, timeout=ANSWER_S) as client:

        def ask(stream: bool) -> str:
            options: Any = {"model": "auto", "messages": QUESTION, "temperature": 0, "max_tokens": 12}
            if not stream:
                return client.chat.completions.create(**options).choices[0].message.content or ""
            chunks = list(client.chat.completions.create(stream=True, **options))
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

        answers = [ask(stream) for stream in (False, True, False, True)]
        assert len(set(answers)) == 1
        assert "Paris" in answers[0]
        home, other = sorted(ports, key=lambda port: -port.posts)
        assert (home.posts, other.posts) == (4, 0), "the same beginning goes to the same replica"

        home.cut()
        assert [ask(stream) for stream in (False, True, False, True)] == answers, "nobody noticed"
        assert other.posts == 4
        body = attached.wait_for_ready(status="degraded")
        assert body["models"]["pair"]["up"] == 1
        assert attached.http.get("/ready").status_code == 200
        assert ask(stream=False) == answers[0]
