"""Whatever a client sends: an answer, or an error of OpenAI's shape, and never a fault of the gateway."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.any_answer import answer_anything
from tests.support.gateway import Gateway
from tests.support.lanes import Plan, error_of
from tests.support.upstream import Upstream

LANES = 1
POSTS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/openai/deployments/auto-0/chat/completions",
    "/openai/deployments/auto-0/completions",
)
ASKED_FOR = frozenset({"confidence_too_low", "deadline_exceeded"})
"""errors that a request's own limits ask for"""


def describe(plan: Plan) -> None:
    vllm = {"structured_backend": "guidance", "abilities": ["completions", "tools", "structured", "logprobs", "image"]}
    plan.slm(**vllm)
    plan.slm("llm", tier="llm", **vllm)
    plan.route("auto", "slm", "llm")


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=8), some, max_size=3),
    max_leaves=6,
)
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}
SENSIBLE: dict[str, list[Any]] = {
    "model": ["auto-0", "slm-0"],
    "messages": [[{"role": "user", "content": "a"}], [{"role": "user", "content": [{"type": "text", "text": "a"}]}]],
    "prompt": ["a", ["a", "b"], [1, 2]],
    "stream": [True, False],
    "stream_options": [{"include_usage": True}, {}],
    "n": [1, 3],
    "max_tokens": [0, 1, 10**9],
    "tools": [[{"type": "function", "function": FUNCTION}], []],
    "tool_choice": ["required", "auto", {"type": "function", "function": {"name": "f"}}],
    "functions": [[FUNCTION]],
    "function_call": ["auto", {"name": "f"}],
    "response_format": [
        {"type": "json_object"},
        {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
    ],
    "guided_regex": ["a+", "("],
    "guided_grammar": ['root ::= "a"'],
    "structured_outputs": [{"choice": ["a", "b"]}],
    "logprobs": [True, 1],
    "top_logprobs": [2],
    "stop": ["a", ["a"] * 5],
    "echo": [True],
    "suffix": ["b"],
    "routing": [{"policy": "heuristic"}, {"max_cost_usd": 0.01}, {"min_confidence": 0.5}, {"stream_check": "prefix"}],
    "logit_bias": [{"1": 5}],
    "extra_body": [{"a": 1}],
}
FIELDS = {name: st.sampled_from(values) | VALUES for name, values in SENSIBLE.items()}
BASE = {"model": "auto-0", "messages": [{"role": "user", "content": "a"}], "prompt": "a"}
BODIES = st.sets(st.sampled_from(sorted(FIELDS)), max_size=4).flatmap(
    lambda names: st.fixed_dictionaries({name: FIELDS[name] for name in sorted(names)}).map(lambda some: BASE | some)
)
READ_OUT = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(autouse=True)
def _models(upstream: Upstream) -> None:
    upstream.site("slm-0").always(answer_anything)
    upstream.site("llm-0").always(answer_anything)


def check(reply: httpx.Response, *, asks_for_calls: bool = False) -> None:
    """An error has OpenAI's shape, and is none of the gateway. Beside calls, no engine decodes under a format."""
    if reply.status_code < 400:
        return
    error = error_of(reply)
    may_break = asks_for_calls and error["code"] == "structured_output_violation"
    assert reply.status_code < 500 or may_break or error["code"] in ASKED_FOR, reply.text


@READ_OUT
@given(st.sampled_from(POSTS), BODIES)
@example(POSTS[0], {"model": "auto-0", "messages": [{"role": "user", "content": "\ud800"}]})
@example(POSTS[1], {"model": "auto-0", "prompt": "a", "suffix": "\x00"})
def test_any_object_gets_an_answer_or_an_error_in_shape(gateway: Gateway, path: str, body: dict[str, Any]) -> None:
    reply = gateway.http.post(path, content=json.dumps(body).encode())
    check(reply, asks_for_calls=bool(body.get("tools") or body.get("functions")))


@READ_OUT
@given(st.sampled_from(POSTS), st.binary(max_size=64) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_body_gets_an_error_in_shape(gateway: Gateway, path: str, body: bytes) -> None:
    reply = gateway.http.post(path, content=body)
    assert 400 <= reply.status_code < 500
    check(reply)


@READ_OUT
@given(st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"]), st.text(st.characters(codec="ascii"), max_size=30))
def test_any_path_gets_an_answer_or_an_error_in_shape(gateway: Gateway, method: str, path: str) -> None:
    check(gateway.http.request(method, f"/{quote(path)}"))
