"""The OpenAPI document: what FastAPI cannot know of plain routes and of answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from server.endpoints import answers, azure
from server.endpoints.openapi_rules import NORMALISED, RULES
from server.endpoints.registry import ENDPOINTS, TextEndpoint
from server.http.relay import HEADERS

JsonObject = dict[str, Any]

ANSWERS: Mapping[str, type[BaseModel]] = {
    "chat/completions": answers.ChatCompletion,
    "completions": answers.Completion,
}
"""by endpoint; another endpoint's answers are its upstream's objects"""
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key", "description": "Azure's header."},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "Anthropic's header."},
}
_KEY = {
    "401": "The key is missing or unknown.",
    "403": "The server has no keys, and a page of another origin sends the request.",
}
_ANY_PATH = {
    "4XX": "The request cannot be served, such as a body above the limit (413).",
    "5XX": "The server had an error.",
}
TEXT_ERRORS = {
    "400": "The request is invalid; `param` names the field. The schema cannot say everything: fields that contradict "
    "each other, and formats that no grammar can express, are refused, too.",
    **_KEY,
    "404": "No route and no model has the name in `model`.",
    "413": "The body is larger than the server's limit.",
    "415": "The body is compressed in a way that the server does not know.",
    "4XX": "The refusal of an upstream, with its status: every model of the route refused the request, or it named one "
    "model. A 429 has `Retry-After`.",
    "500": "The server had an error.",
    "502": "No model gave a usable answer: the last one failed, or its answer does not have the requested format.",
    "503": "The server or the upstream has no capacity, or no replica is up. With `Retry-After`.",
    "504": "The upstream, or the request's `routing.deadline_ms`, timed out.",
}
_METRICS = "text/plain; version=0.0.4; charset=utf-8"
PAGES: Mapping[str, tuple[Mapping[str, type[BaseModel] | None], Mapping[str, str]]] = {
    "/v1/models": ({"200": answers.ModelListing}, _KEY | _ANY_PATH),
    "/v1/models/{name}": ({"200": answers.ModelEntry}, _KEY | {"404": "Nothing has this name."} | _ANY_PATH),
    "/health": ({"200": answers.Health}, _ANY_PATH),
    "/ready": ({"200": answers.ReadinessAnswer, "503": answers.ReadinessAnswer}, _ANY_PATH),
    "/metrics": ({"200": None}, _ANY_PATH),
}
"""path -> the answers by status (None: text for Prometheus), and the errors"""
_MODELS: Sequence[type[BaseModel]] = [
    *ANSWERS.values(),
    answers.Event,
    answers.ErrorAnswer,
    *(model for page, _ in PAGES.values() for model in page.values() if model is not None),
]


def describe(app: FastAPI) -> None:
    """Complete the app's OpenAPI document, when it is first asked for."""
    generate = app.openapi

    def openapi() -> JsonObject:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: JsonObject) -> JsonObject:
    schemas = _schemas()
    headers = {header.name: {"description": header.meaning, "schema": {"type": "string"}} for header in HEADERS}
    headers["x-request-id"] = {"description": "The id of the request, for the log.", "schema": {"type": "string"}}
    for path, (found, errors) in PAGES.items():
        if path in document["paths"]:
            operation = document["paths"][path]["get"]
            operation["responses"] = {**{status: _page(of) for status, of in found.items()}, **_errors(errors)}
            if _KEY.items().isdisjoint(errors.items()):
                operation["security"] = []
    for path, served in ENDPOINTS.items():
        name = served.request.__name__
        document["paths"][path] = {"post": _operation(served, name)}
        schemas[f"Deployment{name}"] = _without_model(schemas[name])
        azure_path = azure.PREFIX.replace(":path", "") + served.endpoint.path
        document["paths"][azure_path] = {"post": _azure_operation(served, f"Deployment{name}")}
    document["components"] = {"schemas": schemas, "headers": headers, "securitySchemes": SECURITY_SCHEMES}
    document["security"] = [{name: []} for name in SECURITY_SCHEMES]
    return document


def _schemas() -> JsonObject:
    ref = "#/components/schemas/{model}"
    _, asked = models_json_schema([(one.request, "validation") for one in ENDPOINTS.values()], ref_template=ref)
    _, answered = models_json_schema([(model, "validation") for model in _MODELS], ref_template=ref)
    return {**answered["$defs"], **{name: _with_rules(name, schema) for name, schema in asked["$defs"].items()}}


def _with_rules(name: str, schema: JsonObject) -> JsonObject:
    if name in RULES:
        schema = {**schema, "allOf": list(RULES[name])}
    if name in NORMALISED:
        changed = dict(NORMALISED[name])
        required = changed.pop("required")
        schema = {**schema, "required": required, "properties": {**schema["properties"], **changed}}
    return schema


def _operation(served: TextEndpoint, request: str) -> JsonObject:
    answer = ANSWERS.get(served.endpoint.path)
    content: JsonObject = {"application/json": {"schema": _ref(answer) if answer else {"type": "object"}}}
    if served.endpoint.returns_choices:
        content["text/event-stream"] = {"itemSchema": _ref(answers.Event)}
    whole_and_streamed = "The answer. With `stream: true`, it is sent as server-sent events."
    ok = {"description": whole_and_streamed, "headers": _header_refs(), "content": content}
    return {
        "tags": ["text"],
        "summary": served.summary,
        "description": served.request.__doc__,
        "operationId": served.endpoint.path.replace("/", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(request)}}},
        "responses": {"200": ok, **_errors(TEXT_ERRORS, _header_refs())},
    }


def _azure_operation(served: TextEndpoint, request: str) -> JsonObject:
    operation = deepcopy(_operation(served, request))
    deployment = {"name": "deployment", "in": "path", "required": True, "schema": {"type": "string"}}
    version = {"name": "api-version", "in": "query", "description": "Ignored.", "schema": {"type": "string"}}
    return operation | {
        "summary": f"{served.summary}: Azure's path, which names the model",
        "operationId": "deployment_" + operation["operationId"],
        "parameters": [deployment, version],
    }


def _without_model(schema: JsonObject) -> JsonObject:
    """Return the schema of a request at Azure's path, which names the model."""
    properties = {**schema["properties"], "model": {"description": "Ignored: the path names the model."}}
    required = [name for name in schema["required"] if name != "model"]
    return {**schema, "title": f"Deployment{schema['title']}", "properties": properties, "required": required}


def _page(model: type[BaseModel] | None) -> JsonObject:
    schema = _ref(model) if model else {"type": "string"}
    content = {"application/json" if model else _METRICS: {"schema": schema}}
    return {"description": (model.__doc__ or "") if model else "In Prometheus' text format.", "content": content}


def _errors(descriptions: Mapping[str, str], headers: JsonObject | None = None) -> JsonObject:
    content = {"application/json": {"schema": _ref(answers.ErrorAnswer)}}
    more = {"headers": headers} if headers else {}
    return {status: {"description": text, **more, "content": content} for status, text in descriptions.items()}


def _header_refs() -> JsonObject:
    return dict(_pairs())


def _pairs() -> Iterator[tuple[str, JsonObject]]:
    for name in (*(header.name for header in HEADERS), "x-request-id"):
        yield name, {"$ref": f"#/components/headers/{name}"}


def _ref(model: type[BaseModel] | str) -> JsonObject:
    name = model if isinstance(model, str) else model.__name__
    return {"$ref": f"#/components/schemas/{name}"}
