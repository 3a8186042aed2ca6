"""Pages of other origins: those on the list may call and read everything, the others nothing, and without a list
nothing changes."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from router.errors import AuthenticationFailed, BadRequest
from server.auth import Keyring
from server.http.cors import Cors
from server.http.middleware import RequestMiddleware
from server.http.relay import HEADERS
from tests.unit.server.http.test_middleware import LIMIT, Exchange, answer, echo, failing

PAGE, OTHER = b"https://app.example", b"https://evil.example"
LISTED, ANY, OFF = Cors(["https://app.example", "http://localhost:3000"]), Cors(["*"]), Cors()
PREFLIGHT = [
    (b"access-control-request-method", b"POST"),
    (b"access-control-request-headers", b"authorization,content-type,x-stainless-os"),
]


async def play(cors: Cors, exchange: Exchange, app: Any = answer(), origin: bytes | None = PAGE) -> Exchange:  # noqa: B008
    finished: list[Any] = []
    if origin is not None:
        exchange.scope["headers"] = [*exchange.scope["headers"], (b"origin", origin)]
    middleware = RequestMiddleware(
        app, max_body_bytes=LIMIT, on_finish=lambda record, _: finished.append(record), cors=cors
    )
    await middleware(exchange.scope, exchange._receive, exchange._send)
    assert len(finished) == 1
    return exchange


def cors_headers(exchange: Exchange) -> dict[str, str]:
    names = [name for name, _ in exchange.sent[0]["headers"] if name.startswith(b"access-control-")]
    assert len(names) == len(set(names))
    return {name.decode(): value.decode() for name, value in exchange.sent[0]["headers"] if name in names}


def preflight(*more: tuple[bytes, bytes]) -> Exchange:
    exchange = Exchange(headers=[*PREFLIGHT, *more])
    exchange.scope["method"] = "OPTIONS"
    return exchange


@pytest.mark.parametrize(("cors", "allowed"), [(LISTED, "https://app.example"), (ANY, "*")])
async def test_a_preflight_needs_no_key_and_allows_what_was_asked(cors: Cors, allowed: str) -> None:
    exchange = await play(cors, preflight(), failing(AssertionError("reached the app")))
    assert (exchange.status, exchange.body) == (204, b"")
    headers = cors_headers(exchange)
    assert headers["access-control-allow-origin"] == allowed
    assert "POST" in headers["access-control-allow-methods"]
    assert headers["access-control-allow-headers"] == "authorization,content-type,x-stainless-os"
    assert int(headers["access-control-max-age"]) > 0
    assert "access-control-allow-private-network" not in headers
    assert "access-control-allow-credentials" not in headers
    assert len(exchange.values(b"x-request-id")) == 1
    assert (b"Origin" in exchange.values(b"vary")) == (cors is LISTED)


async def test_a_preflight_from_a_public_page_to_a_private_network() -> None:
    exchange = await play(LISTED, preflight((b"access-control-request-private-network", b"true")))
    assert cors_headers(exchange)["access-control-allow-private-network"] == "true"


async def test_a_page_that_is_not_listed_gets_nothing() -> None:
    exchange = await play(LISTED, preflight(), failing(AssertionError("reached the app")), origin=OTHER)
    assert cors_headers(exchange) == {}
    assert b"Origin" in exchange.values(b"vary")
    exchange = await play(LISTED, Exchange(), origin=OTHER)
    assert cors_headers(exchange) == {}
    assert exchange.values(b"vary") == [b"Origin"]


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (answer(), 200),
        (answer(404), 404),
        (failing(BadRequest("no")), 400),
        (failing(AuthenticationFailed("no")), 401),
        (failing(ValueError("secret")), 500),
        (echo, 413),
        (failing(ValueError("secret"), begun=True), 200),  # a stream that breaks
    ],
)
async def test_every_answer_can_be_read_errors_included(
    app: Any, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    chunks = [b"x" * (LIMIT + 1)] if status == 413 else [b""]
    exchange = await play(LISTED, Exchange(chunks), app)
    assert exchange.status == status
    headers = cors_headers(exchange)
    assert headers["access-control-allow-origin"] == "https://app.example"
    exposed = headers["access-control-expose-headers"].split(", ")
    assert {"x-request-id", "retry-after", "retry-after-ms"} < set(exposed)
    assert {header.name for header in HEADERS} < set(exposed)
    assert exchange.values(b"vary") == [b"Origin"]


async def test_every_origin_is_allowed_by_a_star() -> None:
    exchange = await play(ANY, Exchange(), origin=b"null")
    assert cors_headers(exchange)["access-control-allow-origin"] == "*"
    assert exchange.values(b"vary") == []


@pytest.mark.parametrize("exchange", [Exchange, preflight])
async def test_it_is_off_by_default(exchange: Any) -> None:
    played = await play(OFF, exchange())
    assert cors_headers(played) == {}
    assert played.values(b"vary") == []
    assert played.body == b"one two"  # a preflight reaches the app as it did


async def test_a_client_that_is_no_browser_sees_no_difference_but_vary() -> None:
    exchange = await play(LISTED, Exchange(), origin=None)
    assert cors_headers(exchange) == {}


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_what_is_no_preflight_reaches_the_app(method: str) -> None:
    exchange = Exchange()
    exchange.scope["method"] = method
    assert (await play(LISTED, exchange)).body == b"one two"


def test_a_listed_page_may_call_a_server_without_keys() -> None:
    keyring = Keyring([], LISTED.allows)
    keyring.check([(b"host", b"127.0.0.1:8000"), (b"origin", PAGE)])
    with pytest.raises(AuthenticationFailed) as caught:
        keyring.check([(b"host", b"127.0.0.1:8000"), (b"origin", OTHER)])
    assert "SMALLFIRST_CORS_ORIGINS" in caught.value.message
