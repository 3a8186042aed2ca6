from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from router import errors
from router.record import RequestRecord
from server.http import envelope

SHAPE = {"message", "type", "param", "code"}
ENDPOINTS = (
    "POST /v1/chat/completions, GET /v1/files, POST /v1/files, GET /v1/models, GET /v1/models/{name}, POST /v1/typed"
)


class Typed(BaseModel):
    name: str
    count: int = 1


def build() -> FastAPI:
    app = FastAPI()

    async def answer(request: Request) -> Response:
        return JSONResponse({"path": request.url.path})

    async def typed(body: Typed) -> Typed:
        return body

    app.router.routes += [
        Route("/v1/chat/completions", answer, methods=["POST"]),
        Route("/v1/models", answer, methods=["GET"]),
        Route("/v1/models/{name:path}", answer, methods=["GET"]),
        Route("/v1/files", answer, methods=["GET"]),
        Route("/v1/files", answer, methods=["POST"]),
    ]
    app.add_api_route("/v1/typed", typed, methods=["POST"])
    envelope.install_error_handlers(app)
    return app


async def ask(app: ASGIApp, method: str, path: str, **kwargs: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        return await client.request(method, path, **kwargs)


def error_of(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == SHAPE
    error: dict[str, Any] = body["error"]
    return error


RETRYABLE = errors.Overloaded("full", retry_after_s=1.2)
ERRORS = [
    (errors.BadRequest("no", param="n", code="invalid_type"), 400, "invalid_request_error", "invalid_type"),
    (errors.AuthenticationFailed("no"), 401, "invalid_request_error", "invalid_api_key"),
    (errors.NotFound("no", code="model_not_found"), 404, "invalid_request_error", "model_not_found"),
    (errors.BodyTooLarge("no"), 413, "invalid_request_error", "request_too_large"),
    (errors.UpstreamRejected(422, {"message": "no", "code": "odd"}), 422, "invalid_request_error", "odd"),
    (errors.UpstreamFailed("no"), 502, "server_error", "upstream_error"),
    (errors.StructuredOutputViolation("no"), 502, "server_error", "structured_output_violation"),
    (RETRYABLE, 503, "server_error", "overloaded"),
    (errors.UpstreamTimedOut("no"), 504, "server_error", "upstream_timeout"),
    (envelope.internal_error("req_1"), 500, "server_error", "internal_error"),
]


@pytest.mark.parametrize(("error", "status", "kind", "code"), ERRORS)
def test_every_error_has_openais_shape(error: errors.ApiError, status: int, kind: str, code: str) -> None:
    response = envelope.error_response(error)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.body)
    body = json.loads(response.body)
    assert (body["error"]["type"], body["error"]["code"]) == (kind, code)
    assert set(body["error"]) == SHAPE
    event = envelope.sse_error(error)
    assert event.startswith(b"data: ")
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    assert json.loads(event[6:]) == body


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RETRYABLE, {"retry-after": "2", "retry-after-ms": "1200"}),
        (errors.Overloaded("full", retry_after_s=3), {"retry-after": "3", "retry-after-ms": "3000"}),
        (errors.Overloaded("full"), {}),
        (errors.AuthenticationFailed("no"), {"www-authenticate": "Bearer"}),
        (errors.StructuredOutputViolation("no"), {"x-should-retry": "false"}),
        (errors.UpstreamFailed("no"), {}),
    ],
)
def test_headers_that_an_error_asks_for(error: errors.ApiError, expected: dict[str, str]) -> None:
    response = envelope.error_response(error, {"x-smallfirst-route": "auto"})
    own = {"content-type", "content-length", "x-smallfirst-route"}
    assert {name: value for name, value in response.headers.items() if name not in own} == expected
    assert response.headers["x-smallfirst-route"] == "auto"


def test_text_of_clients_cannot_break_an_answer_or_a_stream() -> None:
    message = 'line\nbreak "quote" \ud800 ☃ data: [DONE]\n\n'
    error = errors.BadRequest(message)
    assert json.loads(envelope.error_response(error).body)["error"]["message"] == message
    assert envelope.sse_error(error).count(b"\n") == 2


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.BadRequest("no"), "client_error"),
        (errors.UpstreamRejected(400, {}), "client_error"),
        (errors.UpstreamRejected(429, {}), "overloaded"),
        (errors.Overloaded("no", status=429), "overloaded"),
        (errors.Overloaded("no"), "overloaded"),
        (errors.UpstreamTimedOut("no"), "timeout"),
        (errors.UpstreamFailed("no"), "upstream_error"),
        (errors.Unavailable("no"), "upstream_error"),
        (errors.StructuredOutputViolation("no"), "structured_violation"),
        (errors.ApiError("no"), "internal_error"),
    ],
)
def test_note_says_the_outcome(error: errors.ApiError, outcome: str) -> None:
    record = RequestRecord("req_1", started=0.0)
    envelope.set_outcome(record, error)
    assert (record.outcome, record.error_code) == (outcome, error.code or "")


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/chat/completions", "/v1/chat/completions"),
        ("/v1/v1/chat/completions", "/v1/chat/completions"),
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/models/meta/llama", "/v1/models/meta/llama"),
        ("/v1/v1/models/auto", "/v1/models/auto"),
    ],
)
async def test_an_unknown_path_is_told_what_was_meant(path: str, meant: str) -> None:
    response = await ask(build(), "POST", path)
    error = error_of(response)
    assert response.status_code == 404
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "not_found", None)
    assert error["message"] == f"Unknown path: POST {path}. Did you mean {meant}? Endpoints: {ENDPOINTS}."


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/images/generations", "/admin"])
async def test_a_path_without_likeness_gets_the_endpoints(path: str) -> None:
    error = error_of(await ask(build(), "GET", path))
    assert error["message"] == f"Unknown path: GET {path}. Endpoints: {ENDPOINTS}."


async def test_a_long_path_is_cut() -> None:
    error = error_of(await ask(build(), "GET", "/" + "x" * 5000))
    assert "x" * 201 not in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", "OPTIONS, POST"),
        ("DELETE", "/v1/models/auto", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/files", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/v1/typed", "OPTIONS, POST"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allow: str) -> None:
    response = await ask(build(), method, path)
    assert response.status_code == 405
    assert response.headers.get_list("allow") == [allow]
    error = error_of(response)
    assert error["code"] == "method_not_allowed"
    assert error["message"] == f"{method} is not allowed on {path}. Allowed: {allow}."


async def test_options_is_answered() -> None:
    response = await ask(build(), "OPTIONS", "/v1/chat/completions")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["allow"] == "OPTIONS, POST"


async def test_head() -> None:
    assert (await ask(build(), "HEAD", "/v1/models")).status_code == 200
    response = await ask(build(), "HEAD", "/v1/chat/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")


@pytest.mark.parametrize(
    ("content", "code", "param"),
    [
        (b'{"count": 1}', "missing_required_parameter", "name"),
        (b'{"name": 7}', "invalid_type", "name"),
        (b'{"name": "secret", "count": "secret"}', "invalid_type", "count"),
        (b'{"name": ', "invalid_json", None),
        (b"", "missing_required_parameter", None),
    ],
)
async def test_a_body_of_the_wrong_form_is_400_and_not_repeated(content: bytes, code: str, param: str | None) -> None:
    response = await ask(build(), "POST", "/v1/typed", content=content, headers={"content-type": "application/json"})
    error = error_of(response)
    assert (response.status_code, error["code"], error["param"]) == (400, code, param)
    assert (param or "body") in error["message"]
    assert "secret" not in error["message"]


@pytest.mark.parametrize(
    ("raised", "kind", "code", "message"),
    [
        (HTTPException(413), "invalid_request_error", "request_too_large", None),
        (HTTPException(415), "invalid_request_error", "unsupported_media_type", "Unsupported Media Type: GET /raise."),
        (HTTPException(404, "no such thing"), "invalid_request_error", "not_found", "no such thing"),
        (HTTPException(503, "later"), "server_error", "service_unavailable", "later"),
        (errors.NotFound("no", param="model"), "invalid_request_error", "not_found", "no"),
    ],
)
async def test_errors_raised_by_endpoints(raised: Exception, kind: str, code: str, message: str | None) -> None:
    app = build()
    record = RequestRecord("req_1", started=0.0)

    async def fail(request: Request) -> Response:
        request.scope["state"] = {envelope.RECORD: record}
        raise raised

    app.router.routes.append(Route("/raise", fail))
    response = await ask(app, "GET", "/raise")
    error = error_of(response)
    assert response.status_code == getattr(raised, "status_code", getattr(raised, "status", None))
    assert (error["type"], error["code"]) == (kind, code)
    assert message is None or error["message"] == message
    assert record.error_code == code
    assert record.outcome == ("client_error" if response.status_code < 500 else "internal_error")


async def test_headers_of_an_http_exception_are_kept() -> None:
    async def fail(scope: Scope, receive: Receive, send: Send) -> None:
        raise HTTPException(429, headers={"retry-after": "7"})

    app = FastAPI()
    app.mount("/m", fail)
    envelope.install_error_handlers(app)
    response = await ask(app, "GET", "/m/x")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert error_of(response)["code"] == "too_many_requests"
