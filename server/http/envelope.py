"""The only renderer of errors. Every error has OpenAI's shape: `{"error": {message, type, param, code}}`."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping
from http import HTTPStatus

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from router.errors import (
    ApiError,
    BadRequest,
    BodyTooLarge,
    OutsideHours,
    Overloaded,
    StructuredOutputViolation,
    Unavailable,
    UpstreamFailed,
    UpstreamTimedOut,
)
from router.record import Outcome, RequestRecord
from server.http import content_encoding

RECORD = "record"
"""the key of the request's RequestRecord in `scope["state"]`"""


def error_response(error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the response for an error. `headers` are added to those that the error needs."""
    return Response(
        json.dumps(error.body()),
        status_code=error.status,
        headers={**_error_headers(error), **(headers or {})},
        media_type="application/json",
    )


def sse_error(error: ApiError) -> bytes:
    """Return the event that ends a broken stream. No `[DONE]` may follow it."""
    return b"data: " + json.dumps(error.body()).encode() + b"\n\n"


def internal_error(request_id: str) -> ApiError:
    """Return the error for a fault of the server. Only the log has its cause, under the request id."""
    return ApiError(f"The server had an error while processing the request. Its request id is {request_id}.")


def shutting_down() -> ApiError:
    """Return the error for a request that still runs when the grace period of a shutdown is over."""
    return Overloaded("The gateway is shutting down.", code="shutting_down", retry_after_s=1.0)


def set_outcome(record: RequestRecord, error: ApiError) -> None:
    """Write the outcome and the error code of a failed request into its record."""
    record.outcome = _outcome_of(error)
    record.error_code = error.code or ""


def install_error_handlers(app: FastAPI) -> None:
    """Make the app render every ApiError and the framework's errors (404, 405, 413, 415, 422) in OpenAI's shape.

    The middleware renders unexpected exceptions (500). Redirects that add or remove a trailing slash are switched
    off: a client gets a 404 that names the right path instead.
    """
    app.router.redirect_slashes = False
    app.add_exception_handler(ApiError, _on_api_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_validation_error)


def _error_headers(error: ApiError) -> dict[str, str]:
    headers = {}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after_s * 1000))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, content_encoding.UnsupportedContentEncoding):
        headers["accept-encoding"] = content_encoding.ACCEPTED
    if isinstance(error, StructuredOutputViolation):
        # Every rung has been tried. An SDK that repeats the call would pay for the same failure again.
        headers["x-should-retry"] = "false"
    return headers


def _outcome_of(error: ApiError) -> Outcome:
    match error:
        case StructuredOutputViolation():
            return "structured_violation"
        case UpstreamTimedOut():
            return "timeout"
        case Overloaded():
            return "overloaded"
        case OutsideHours():  # nothing has failed
            return "client_error"
        case UpstreamFailed() | Unavailable():
            return "upstream_error"
    if error.status >= 500:
        return "internal_error"
    return "overloaded" if error.status == 429 else "client_error"


def _respond(request: Request, error: ApiError, headers: Mapping[str, str] | None = None) -> Response:
    record = request.scope.get("state", {}).get(RECORD)
    if record is not None:
        set_outcome(record, error)
    return error_response(error, headers)


async def _on_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101
    return _respond(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    status, headers = error.status_code, error.headers or {}
    if status == 405:
        headers = {"allow": ", ".join(_allowed_methods(request))}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
    if not error.detail or error.detail == HTTPStatus(status).phrase:
        message = _default_message(request, status, headers)
    else:
        message = str(error.detail)
    code = BodyTooLarge.code if status == 413 else HTTPStatus(status).phrase.lower().replace(" ", "_")
    kind = BadRequest if status < 500 else ApiError
    return _respond(request, kind(message, status=status, code=code), headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """Respond with 400 as OpenAI does, not with 422. The message names the first fault and quotes no values."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first_fault = error.errors()[0]
    # `loc` begins with the location (body, query, path). The client's own name of the parameter follows.
    param = ".".join(str(part) for part in first_fault["loc"][1:])
    kind = first_fault["type"]
    if kind == "json_invalid":
        return _respond(request, BadRequest("The request body is not valid JSON.", code="invalid_json"))
    if kind == "missing":
        code, message = "missing_required_parameter", f"Missing required parameter: '{param or 'body'}'."
    else:
        code = "invalid_type" if kind.endswith(("_type", "_parsing")) else "invalid_value"
        message = f"Invalid '{param or 'body'}': {first_fault['msg']}."
    return _respond(request, BadRequest(message, param=param or None, code=code))


def _default_message(request: Request, status: int, headers: Mapping[str, str]) -> str:
    path = request.url.path[:200]
    hint = " This server has no WebSockets." if request.headers.get("upgrade", "").lower() == "websocket" else ""
    match status:
        case 404:
            return _not_found_message(request, path) + hint
        case 405:
            return f"{request.method} is not allowed on {path}. Allowed: {headers['allow']}.{hint}"
    return f"{HTTPStatus(status).phrase}: {request.method} {path}."


def _not_found_message(request: Request, path: str) -> str:
    endpoints = {(route.path_format, method) for route in _endpoint_routes(request) for method in _methods_of(route)}
    listing = ", ".join(f"{method} {path_format}" for path_format, method in sorted(endpoints))
    suggestion = _suggested_path(request, path)
    hint = f" Did you mean {suggestion}?" if suggestion else ""
    return f"Unknown path: {request.method} {path}.{hint} Endpoints: {listing}."


def _suggested_path(request: Request, path: str) -> str | None:
    """Return the endpoint that the client probably meant: with a wrong prefix, a trailing slash or a typo.

    Known wrong prefixes are none at all, `/v1/v1`, `/openai/v1` and Azure's `/openai`.
    """
    rest = "/" + "/".join(part for part in path.rpartition("/v1")[2].removeprefix("/openai/").split("/") if part)
    for candidate in (rest, f"/v1{rest}"):
        scope = {**request.scope, "path": candidate}
        if any(route.matches(scope)[0] is not Match.NONE for route in _endpoint_routes(request)):
            return candidate
    close = difflib.get_close_matches(path, [route.path_format for route in _endpoint_routes(request)], n=1, cutoff=0.8)
    return close[0] if close else None


def _endpoint_routes(request: Request) -> Iterator[Route]:
    """Yield the app's endpoints, without the pages of its API documentation."""
    for route in request.app.routes:
        if isinstance(route, Route) and route.include_in_schema:
            yield route


def _methods_of(route: Route) -> set[str]:
    return (route.methods or set()) - {"HEAD"}


def _allowed_methods(request: Request) -> list[str]:
    """Return every method that the path allows. The framework names only those of the first matching route."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    matching = [route for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    return sorted({"OPTIONS", *(method for route in matching for method in route.methods or ())})
