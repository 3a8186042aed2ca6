"""The OpenAPI document: every path, what each answers, and that it accepts what the gateway accepts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from fastapi import FastAPI

from router.errors import BadRequest, UpstreamRejected
from server.endpoints.models import ModelList
from server.endpoints.openapi import PAGES, describe
from tests.support.decoding import CHAT, TEXT, decode
from tests.support.fakes import config, model

USER = {"role": "user", "content": "a"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    app = FastAPI(title="t", version="1")
    for path in PAGES:
        app.get(path)(lambda: None)
    describe(app)
    assert app.openapi() is app.openapi()
    return app.openapi()


def schema(document: dict[str, Any], name: str) -> jsonschema_rs.Validator:
    root = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema_rs.validator_for(root)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "ChatRequest"),
        ("/v1/completions", "CompletionRequest"),
        ("/openai/deployments/{deployment}/chat/completions", "DeploymentChatRequest"),
        ("/openai/deployments/{deployment}/completions", "DeploymentCompletionRequest"),
    ],
)
def test_every_endpoint_is_described(document: dict[str, Any], path: str, name: str) -> None:
    operation = document["paths"][path]["post"]
    asked = operation["requestBody"]["content"]["application/json"]["schema"]
    assert asked == {"$ref": f"#/components/schemas/{name}"}
    assert ("model" in document["components"]["schemas"][name]["required"]) != name.startswith("Deployment")
    responses = operation["responses"]
    assert set(responses["200"]["content"]) == {"application/json", "text/event-stream"}
    errors = [response for status, response in responses.items() if status != "200"]
    assert {json.dumps(response["content"]) for response in errors} == {
        '{"application/json": {"schema": {"$ref": "#/components/schemas/ErrorAnswer"}}}'
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    for ref in _references(document):
        _, _, section, name = ref.split("/")
        assert name in document["components"][section]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (value for key, value in node.items() if key == "$ref")
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_only_the_operators_pages_need_no_key(document: dict[str, Any]) -> None:
    assert document["security"] == [{"bearer": []}, {"api-key": []}, {"x-api-key": []}]
    operations = {path: next(iter(methods.values())) for path, methods in document["paths"].items()}
    assert {path for path, operation in operations.items() if operation.get("security") == []} == {
        "/health", "/ready", "/metrics",
    }  # fmt: skip
    assert not any("422" in operation["responses"] for operation in operations.values())


def test_answers_and_errors_are_as_described(document: dict[str, Any]) -> None:
    entries = ModelList(config(model()))
    assert schema(document, "ModelListing").is_valid(entries.all())
    assert schema(document, "ModelEntry").is_valid(entries.one("auto"))
    odd = {"message": {"a": 1}, "param": ["messages"], "code": 400, "type": None, "hint": [1]}
    rejected = UpstreamRejected(400, odd)
    assert schema(document, "ErrorAnswer").is_valid(rejected.body())
    assert rejected.body()["error"]["hint"] == [1]
    assert schema(document, "ErrorAnswer").is_valid(BadRequest("no", param="model").body())


CHATS: list[dict[str, Any]] = [
    {},
    {"messages": [{"role": "user"}]},
    {"messages": [{"role": "user", "content": None}]},
    {"messages": [{"role": "user", "content": []}]},
    {"messages": [{"role": "assistant"}]},
    {"messages": [{"role": "assistant", "content": []}]},
    {"messages": [{"role": "tool", "content": "a"}]},
    {"messages": [{"role": "tool", "content": "a", "tool_call_id": "c"}]},
    {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
    {"messages": [USER, {"role": "assistant", "function_call": {"name": "f"}}]},
    {"messages": [USER, {"role": "assistant", "function_call": {"name": "f", "arguments": {"a": 1}}}]},
    {"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}]},
    {"messages": [USER, {"role": "assistant", "tool_calls": [{"id": "c", "type": "x", "function": {"name": "f"}}]}]},
    {"top_logprobs": 2},
    {"top_logprobs": 2, "logprobs": False},
    {"top_logprobs": 2, "logprobs": True},
    {"top_logprobs": None},
    {"stream_options": {"include_usage": True}},
    {"stream_options": {"include_usage": True}, "stream": True},
    {"stream_options": None},
    {"response_format": {"type": "xml"}},
    {"response_format": {"type": "json_object"}},
]


@pytest.mark.parametrize("fields", CHATS, ids=str)
def test_the_schema_accepts_what_the_gateway_accepts(document: dict[str, Any], fields: dict[str, Any]) -> None:
    body = CHAT | fields
    try:
        decode("chat/completions", json.dumps(body).encode())
        accepted = True
    except BadRequest:
        accepted = False
    assert schema(document, "ChatRequest").is_valid(body) == accepted


def test_the_path_names_the_model_of_a_deployment(document: dict[str, Any]) -> None:
    body = {name: value for name, value in TEXT.items() if name != "model"}
    assert schema(document, "DeploymentCompletionRequest").is_valid(body | {"model": 5})
    assert schema(document, "DeploymentCompletionRequest").is_valid(body)
    assert not schema(document, "CompletionRequest").is_valid(body)
