"""The client's bytes -> ChatCall: decoded once, validated, its values left as they came."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from fastapi import FastAPI
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema

from router.errors import BadRequest
from router.messages import strict_json
from router.structured.request.output_format import format_fields
from router.types import ChatCall, Endpoint, RoutingOptions
from server.endpoints.schemas import ChatRequest, CompletionRequest
from server.endpoints.validation_errors import bad_request, invalid_type

_REQUESTS: Mapping[Endpoint, type[BaseModel]] = {"chat/completions": ChatRequest, "completions": CompletionRequest}
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_MOST = {"messages": 10_000, "tools": 1_000, "functions": 1_000, "logit_bias": 10_000}
"""entries; validating more would stop the world for others"""


def decode(endpoint: Endpoint, raw: bytes) -> ChatCall:
    """Turn a request's body into a call.

    Raises:
        BadRequest: the bytes are no JSON object (`invalid_json`), or a field is wrong (`param` names it).
    """
    body = _parse(raw)
    _refuse_endless(body)
    try:
        _REQUESTS[endpoint].__pydantic_validator__.validate_python(body)
    except ValidationError as error:
        raise bad_request(error) from None
    _RULES[endpoint](body)
    _rules(body)
    fields = _FIELDS.decode(raw)
    fields.pop("routing", None)
    routing = {key: value for key, value in (body.pop("routing", None) or {}).items() if value is not None}
    stream = body.get("stream") is True
    return ChatCall(
        endpoint=endpoint,
        model=body["model"],
        body=body,
        fields=fields,
        size=len(raw),
        stream=stream,
        include_usage=stream and (body.get("stream_options") or {}).get("include_usage") is True,
        routing=RoutingOptions(**routing),
    )


def describe(app: FastAPI) -> None:
    """Show the two endpoints in the app's OpenAPI document; they are plain routes, which FastAPI does not see."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _, schemas = models_json_schema(
                [(request, "validation") for request in _REQUESTS.values()],
                ref_template="#/components/schemas/{model}",
            )
            document.setdefault("components", {}).setdefault("schemas", {}).update(schemas["$defs"])
            for endpoint, request in _REQUESTS.items():
                document["paths"][f"/v1/{endpoint}"] = {"post": _operation(endpoint, request)}
            document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _operation(endpoint: Endpoint, request: type[BaseModel]) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{request.__name__}"}
    return {
        "tags": ["text"],
        "summary": "Create a chat completion" if endpoint == "chat/completions" else "Create a completion",
        "description": request.__doc__,
        "operationId": endpoint.replace("/", "_"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "The answer; with `stream: true` its events as text/event-stream."},
            "4XX": {"description": 'The request is wrong: `{"error": {"message", "type", "param", "code"}}`.'},
            "5XX": {"description": "No answer could be had; same form."},
        },
    }


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        body = strict_json.decode(raw)
    except UnicodeDecodeError as error:
        raise _no_json(f"not UTF-8 (byte {error.start})") from None
    except strict_json.NotJson as error:
        raise _no_json("empty" if not raw.strip() else f"not valid JSON: {error}") from None
    if not isinstance(body, dict):
        raise _no_json("not a JSON object")
    return body


def _no_json(reason: str) -> BadRequest:
    return BadRequest(f"The request body is {reason}; expected a JSON object.", code="invalid_json")


def _refuse_endless(body: Mapping[str, Any]) -> None:
    for name, most in _MOST.items():
        value = body.get(name)
        if isinstance(value, list | dict) and len(value) > most:
            raise BadRequest(
                f"Invalid '{name}': too long. Expected at most {most} entries, but got {len(value)}.",
                param=name,
                code="array_above_max_length",
            )


def _rules(body: Mapping[str, Any]) -> None:
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise BadRequest("'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    wanted = body.get("response_format") or {}
    if wanted.get("type") == "json_schema" and wanted.get("json_schema") is None:
        raise _missing("response_format.json_schema")


def _chat_rules(body: Mapping[str, Any]) -> None:
    for i, message in enumerate(body["messages"]):
        _message_rules(message, f"messages[{i}]")
    if body.get("top_logprobs") is not None and body.get("logprobs") is not True:
        raise BadRequest("'top_logprobs' is only allowed when 'logprobs' is true.", param="top_logprobs")


def _message_rules(message: Mapping[str, Any], at: str) -> None:
    role, content = message["role"], message.get("content")
    if content is None:
        if role not in ("assistant", "function"):
            if "content" in message:
                raise invalid_type(f"{at}.content", "a string or an array of content parts", None)
            raise _missing(f"{at}.content")
    elif not isinstance(content, str):
        if not content and role != "assistant":
            raise BadRequest(
                f"Invalid '{at}.content': empty array. Expected at least 1 element.",
                param=f"{at}.content",
                code="empty_array",
            )
        for i, part in enumerate(content):
            if part["type"] == "text" and not isinstance(part.get("text"), str):
                where = f"{at}.content[{i}].text"
                raise invalid_type(where, "a string", part["text"]) if "text" in part else _missing(where)
    if role == "tool" and message.get("tool_call_id") is None:
        raise _missing(f"{at}.tool_call_id")


def _completion_rules(body: Mapping[str, Any]) -> None:
    if body.get("suffix") is not None:
        raise BadRequest("'suffix' is not supported.", param="suffix", code="unsupported_parameter")
    best_of, n = body.get("best_of"), body.get("n") or 1
    if best_of is not None and best_of < n:
        raise BadRequest(f"Invalid 'best_of': expected a value >= 'n' ({n}), but got {best_of}.", param="best_of")
    if body.get("echo") is True and (formats := format_fields(body)):
        raise BadRequest(f"'echo' cannot be used with '{formats[0]}'.", param="echo")


def _missing(where: str) -> BadRequest:
    return BadRequest(f"Missing required parameter: '{where}'.", param=where, code="missing_required_parameter")


_RULES: Mapping[Endpoint, Callable[[Mapping[str, Any]], None]] = {
    "chat/completions": _chat_rules,
    "completions": _completion_rules,
}
