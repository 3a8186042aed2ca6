"""The policy and the endpoint that CONTRIBUTING.md prints work as printed."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from router.config.models import Route
from router.policy import POLICIES, unregister
from router.policy.base import Situation
from server.endpoints.decode import decode
from server.endpoints.registry import ENDPOINTS
from server.endpoints.registry import unregister as unregister_endpoint
from tests.support.fakes import FakeExchange, call, large, model
from tests.support.inprocess import Dispatching

PAGE = Path(__file__).parents[3] / "CONTRIBUTING.md"
POLICY, ENDPOINT = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def imported(name: str, text: str, folder: Path) -> ModuleType:
    file = folder / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def policy(tmp_path: Path) -> Iterator[ModuleType]:
    module = imported("printed_policy", POLICY, tmp_path)
    yield module
    unregister(module.Turns)


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[ModuleType]:
    module = imported("printed_endpoint", ENDPOINT, tmp_path)
    yield module
    unregister_endpoint(module.EMBEDDINGS_ENDPOINT)


def test_the_policy_decides(policy: ModuleType) -> None:
    small, big = model(), large()
    route = Route("auto", ((small,), (big,)), big, "turns", policy.TurnsOptions(max_turns=1))
    built = POLICIES["turns"].build(route)
    assert built is not None
    message = {"role": "user", "content": "x"}
    assert [built.decide(Situation(call(messages=[message] * n), route.rungs)).rung for n in (1, 2)] == [0, 1]


async def test_the_endpoint_answers(endpoint: ModuleType) -> None:
    answer = b'{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":1}}'
    script = {"slm-0": [lambda: FakeExchange(body=b"no JSON")], "llm-0": [lambda: FakeExchange(body=answer)]}
    gateway = Dispatching(script=script)
    served = ENDPOINTS["/v1/embeddings"]
    assert await gateway.ask(decode(served, b'{"model": "auto", "input": ["a", "b"]}')) == [answer]
    assert gateway.steps == [("slm", "llm", "upstream_error")]
