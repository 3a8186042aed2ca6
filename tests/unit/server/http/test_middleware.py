from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.errors import BadRequest, BodyTooLarge, UpstreamTimedOut
from router.record import RequestRecord
from server.http.disconnect import ClientDisconnected
from server.http.envelope import RECORD
from server.http.middleware import RequestMiddleware, read_body

LIMIT = 100
Headers = list[tuple[bytes, bytes]]


class Exchange:
    """One request, played to the middleware message by message."""

    def __init__(self, chunks: Iterable[bytes | None] = (b"",), headers: Headers | None = None) -> None:
        """`chunks`: the body as it arrives; None: the client leaves."""
        chunks = list(chunks)
        self._messages: list[Message] = [
            {"type": "http.disconnect"}
            if chunk is None
            else {"type": "http.request", "body": chunk, "more_body": i < len(chunks) - 1}
            for i, chunk in enumerate(chunks)
        ]
        self.scope: Scope = {"type": "http", "method": "POST", "path": "/p", "headers": headers or [], "state": {}}
        self.sent: list[Message] = []
        self.finished: list[tuple[RequestRecord, Scope]] = []

    async def play(self, app: ASGIApp) -> RequestRecord:
        middleware = RequestMiddleware(app, max_body_bytes=LIMIT, on_finish=lambda *args: self.finished.append(args))
        await middleware(self.scope, self._receive, self._send)
        [(record, scope)] = self.finished
        assert scope is self.scope
        assert scope["state"][RECORD] is record
        assert record.finished >= record.started > 0
        return record

    async def _receive(self) -> Message:
        return self._messages.pop(0) if self._messages else {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        [start] = [message for message in self.sent if message["type"] == "http.response.start"]
        assert self.sent[0] is start
        status: int = start["status"]
        return status

    def values(self, name: bytes) -> list[bytes]:
        return [value for key, value in self.sent[0]["headers"] if key == name]

    @property
    def body(self) -> bytes:
        return b"".join(message["body"] for message in self.sent[1:])

    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.body)["error"]
        return error


def answer(status: int = 200, headers: Headers | None = None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": headers or []})
        await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        await send({"type": "http.response.body", "body": b"two"})

    return app


def failing(error: BaseException, *, begun: bool = False) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one ", "more_body": True})
        raise error

    return app


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await read_body(receive)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def assert_common_headers(exchange: Exchange, record: RequestRecord) -> None:
    assert exchange.values(b"x-request-id") == [record.request_id.encode()]
    [elapsed] = exchange.values(b"openai-processing-ms")
    assert 0 <= int(elapsed) < 10_000
    assert exchange.values(b"openai-version") == [b"2020-10-01"]


async def test_every_answer_gets_the_common_headers_once() -> None:
    upstreams = [
        (b"x-request-id", b"theirs"),
        (b"openai-processing-ms", b"99999"),
        (b"openai-version", b"1999"),
        (b"x-smallfirst-model", b"slm"),
    ]
    exchange = Exchange()
    record = await exchange.play(answer(headers=upstreams))
    assert record.request_id.startswith("req_")
    assert len(record.request_id) == 36
    assert_common_headers(exchange, record)
    assert exchange.values(b"x-smallfirst-model") == [b"slm"]
    assert exchange.body == b"one two"


async def test_request_ids_differ() -> None:
    ids = {(await Exchange().play(answer())).request_id for _ in range(100)}
    assert len(ids) == 100


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (b"trace-1 / 2", "trace-1 / 2"),
        (b"x" * 512, "x" * 512),
        (b"x" * 513, ""),
        (b"line\nbreak", ""),
        (b"\x1b[31m", ""),
        ("é".encode(), ""),
        (b"", ""),
    ],
)
async def test_a_sane_client_request_id_is_recorded(sent: bytes, kept: str) -> None:
    record = await Exchange(headers=[(b"x-client-request-id", sent)]).play(answer())
    assert record.client_request_id == kept
    assert (await Exchange().play(answer())).client_request_id == ""


@pytest.mark.parametrize(("sent", "kept"), [(b"session 1", "session 1"), (b"x" * 513, ""), (b"\x00", "")])
async def test_a_sane_session_is_recorded(sent: bytes, kept: str) -> None:
    record = await Exchange(headers=[(b"x-session-id", sent)]).play(answer())
    assert (record.session, record.client_request_id) == (kept, "")


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "ok"), (204, "ok"), (307, "ok"), (404, "client_error"), (500, "internal_error"), (503, "internal_error")],
)
async def test_the_status_says_the_outcome_that_nobody_wrote(status: int, outcome: str) -> None:
    record = await Exchange().play(answer(status))
    assert (record.status, record.outcome) == (status, outcome)


async def test_an_outcome_that_was_written_stays() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer()(scope, receive, send)
        scope["state"][RECORD].outcome = "timeout"

    assert (await Exchange().play(app)).outcome == "timeout"


async def test_an_unexpected_error_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    exchange = Exchange()
    with caplog.at_level(logging.ERROR):
        record = await exchange.play(failing(ValueError("the secret cause")))
    assert exchange.status == record.status == 500
    assert_common_headers(exchange, record)
    error = exchange.error()
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert record.request_id in error["message"]
    assert b"secret" not in exchange.body
    assert b"ValueError" not in exchange.body
    [logged] = caplog.records
    assert logged.fields == {"request_id": record.request_id}  # type: ignore[attr-defined]
    assert "the secret cause" in caplog.text
    assert record.outcome == "internal_error"


async def test_an_api_error_that_nobody_rendered_is_rendered() -> None:
    exchange = Exchange()
    record = await exchange.play(failing(BadRequest("no", code="odd")))
    assert exchange.status == 400
    assert exchange.error()["code"] == "odd"
    assert (record.outcome, record.error_code) == ("client_error", "odd")
    assert_common_headers(exchange, record)


@pytest.mark.parametrize(
    ("error", "outcome"), [(ValueError("x"), "internal_error"), (UpstreamTimedOut("x"), "timeout")]
)
async def test_an_answer_that_has_begun_is_left_incomplete(error: Exception, outcome: str) -> None:
    exchange = Exchange()
    record = await exchange.play(failing(error, begun=True))
    assert exchange.status == 200
    assert exchange.sent[-1]["more_body"]  # the server cuts the connection of such an answer
    assert len(exchange.sent) == 2
    assert record.outcome == outcome


async def test_an_answer_cut_by_nobody_known_is_not_ok() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    assert (await Exchange().play(app)).outcome == "internal_error"


async def test_cancellation_goes_through_and_the_record_is_finished() -> None:
    class Cancelled(BaseException):
        pass

    exchange = Exchange()
    with pytest.raises(Cancelled):
        await exchange.play(failing(Cancelled()))
    assert len(exchange.finished) == 1


@pytest.mark.parametrize("chunks", [[b"x" * LIMIT], [b"x" * 60, b"x" * 40], [b""], [b"a", b"", b"b"]])
async def test_a_body_up_to_the_limit_is_read(chunks: list[bytes]) -> None:
    exchange = Exchange(chunks)
    await exchange.play(echo)
    assert exchange.body == b"".join(chunks)


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    exchange = Exchange([b"x"], headers=[(b"content-length", b"101")])
    record = await exchange.play(failing(AssertionError("reached the app")))
    assert exchange.status == record.status == 413
    assert exchange.error()["code"] == "request_too_large"
    assert "100 bytes" in exchange.error()["message"]
    assert_common_headers(exchange, record)
    assert (record.outcome, record.error_code) == ("client_error", "request_too_large")


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5")], [(b"content-length", b"x")]])
async def test_a_body_that_grows_over_the_limit_is_refused(headers: Headers) -> None:
    exchange = Exchange([b"x" * 60, b"x" * 41], headers)
    await exchange.play(echo)
    assert exchange.status == 413


async def test_an_endpoint_may_answer_a_body_too_large_itself() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with pytest.raises(BodyTooLarge):
            await read_body(receive)
        await answer(418)(scope, receive, send)

    exchange = Exchange([b"x" * 101])
    await exchange.play(app)
    assert exchange.status == 418


@pytest.mark.parametrize("chunks", [[None], [b"half", None]])
async def test_a_client_that_leaves_is_no_error(chunks: list[bytes | None], caplog: pytest.LogCaptureFixture) -> None:
    exchange = Exchange(chunks)
    record = await exchange.play(echo)
    assert (record.status, record.outcome) == (499, "disconnected")
    assert exchange.sent == []
    assert not caplog.records


async def test_starlettes_own_disconnect_is_known() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()

    record = await Exchange([b"half", None]).play(app)
    assert (record.status, record.outcome) == (499, "disconnected")


async def test_a_client_that_leaves_a_stream_keeps_its_status() -> None:
    record = await Exchange().play(failing(ClientDisconnected(), begun=True))
    assert (record.status, record.outcome) == (200, "disconnected")


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_other_scopes_pass_untouched(kind: str) -> None:
    seen: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    exchange = Exchange()
    scope = {"type": kind}
    middleware = RequestMiddleware(app, max_body_bytes=LIMIT, on_finish=lambda *_: pytest.fail("finished"))
    await middleware(scope, exchange._receive, exchange._send)
    assert seen == [{"type": kind}]
