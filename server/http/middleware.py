"""What every HTTP request gets, on every path: an id, a record, common headers, a limit on its body."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from random import getrandbits

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from router.errors import ApiError, BodyTooLarge
from router.record import RequestRecord
from server.http.body_memory import SMALL_BYTES, BodyMemory
from server.http.content_encoding import unpacked
from server.http.cors import Cors
from server.http.disconnect import ClientDisconnected
from server.http.envelope import RECORD, error_response, internal_error, set_outcome, shutting_down

logger = logging.getLogger(__name__)

MAX_CLIENT_ID_LENGTH = 512
OPENAI_VERSION = b"2020-10-01"
_GATEWAY_HEADERS = frozenset({b"x-request-id", b"openai-processing-ms", b"openai-version"})
_READ_HEADERS = frozenset({b"content-length", b"content-encoding", b"x-client-request-id", b"x-session-id"})
_NAME = itemgetter(0)


class RequestMiddleware:
    """Pure ASGI. Opens the record, `scope["state"]["record"]`, and passes it to `on_finish` once, at the end.

    The endpoint writes the record's outcome. If it wrote none, the outcome follows from the response's status.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_body_bytes: int,
        on_finish: Callable[[RequestRecord, Scope], None],
        cors: Cors | None = None,
    ) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._on_finish = on_finish
        self._cors = cors if cors is not None and cors.is_on else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope. Scopes that are not HTTP requests pass unchanged."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        content_length, content_encodings, client_request_id, session = _read_headers(scope["headers"])
        record = RequestRecord(
            request_id=f"req_{getrandbits(128):032x}",
            started=time.monotonic(),
            client_request_id=client_request_id,
            session=session,
        )
        scope.setdefault("state", {})[RECORD] = record
        received = 0
        has_started = is_complete = False

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            self._check_size(received)
            return message

        async def send_with_headers(message: Message) -> None:
            nonlocal has_started, is_complete
            if message["type"] == "http.response.start":
                has_started = True
                record.status = message["status"]
                headers = _with_gateway_headers(message.get("headers", ()), record)
                headers += self._cors.answer_headers(scope["headers"]) if self._cors is not None else ()
                message = {**message, "headers": headers}
            elif message["type"] == "http.response.body":
                is_complete = not message.get("more_body", False)
            await send(message)

        async def fail(error: ApiError) -> None:
            set_outcome(record, error)
            if not has_started:
                await error_response(error)(scope, receive, send_with_headers)
            # Otherwise the response has begun. It stays incomplete, so the server closes the connection, and the
            # client sees that it is broken.

        try:
            self._check_size(content_length)
            app = self._app if self._cors is None else _preflight_response(scope, self._cors) or self._app
            receive_body = (
                unpacked(receive_limited, content_encodings, self._max_body_bytes)
                if content_encodings
                else receive_limited
            )
            await app(scope, receive_body, send_with_headers)
        except ApiError as error:
            await fail(error)
        except ClientDisconnect:
            record.status = record.status or 499
            record.outcome = "disconnected"
        except asyncio.CancelledError:  # only the server cancels here, when the grace period of its shutdown is over
            await fail(shutting_down())
        except Exception:
            logger.exception("unexpected error", extra={"fields": {"request_id": record.request_id}})
            await fail(internal_error(record.request_id))
        finally:
            if is_complete:
                _set_unset_outcome(record)
            record.finished = time.monotonic()
            self._on_finish(record, scope)

    def _check_size(self, size: int) -> None:
        if size > self._max_body_bytes:
            raise BodyTooLarge(f"The request body is over the limit of {self._max_body_bytes} bytes.")


def _set_unset_outcome(record: RequestRecord) -> None:
    if record.outcome == "internal_error" and not record.error_code and record.status < 500:
        record.outcome = "ok" if record.status < 400 else "client_error"


def _preflight_response(scope: Scope, cors: Cors) -> Response | None:
    headers = cors.preflight_headers(scope["method"], scope["headers"])
    return None if headers is None else Response(status_code=204, headers=Headers(raw=headers))


async def read_body(receive: Receive, memory: BodyMemory | None = None) -> bytes:
    """Read the whole request body. The middleware limits its size.

    If it is large, it is counted in `memory`; the caller calls `memory.release` with its length when it is done.

    Raises:
        ClientDisconnected: the client disconnected before the body's end.
        BodyTooLarge: the body is over the limit.
        Overloaded: there is no memory for it beside other large bodies.
    """
    chunks: list[bytes] = []
    size = counted = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnected
            chunk: bytes = message.get("body", b"")
            is_last = not message.get("more_body", False)
            if is_last and not chunks and len(chunk) <= SMALL_BYTES:
                return chunk  # as nearly every body
            chunks.append(chunk)
            size += len(chunk)
            if memory is not None and (size - counted > SMALL_BYTES or (counted and is_last)):
                memory.take(size - counted, counted)
                counted = size
            if is_last:
                return b"".join(chunks)
    except BaseException:
        if memory is not None:
            memory.release(counted)
        raise


def _with_gateway_headers(headers: Sequence[tuple[bytes, bytes]], record: RequestRecord) -> list[tuple[bytes, bytes]]:
    """Return the endpoint's headers and the gateway's, which replace an upstream's headers of the same name."""
    elapsed_ms = int((time.monotonic() - record.started) * 1000)
    if not _GATEWAY_HEADERS.isdisjoint(map(_NAME, headers)):
        headers = [header for header in headers if header[0] not in _GATEWAY_HEADERS]
    return [
        *headers,
        (b"x-request-id", record.request_id.encode()),
        (b"openai-processing-ms", b"%d" % elapsed_ms),
        (b"openai-version", OPENAI_VERSION),
    ]


def _read_headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, list[bytes], str, str]:
    """Return `Content-Length`, `Content-Encoding`, which may occur repeatedly, `X-Client-Request-Id`, `X-Session-Id`.

    The length is 0 for a chunked body, whose bytes are counted on arrival.
    """
    length, client_request_id, session = 0, "", ""
    content_encodings: list[bytes] = []
    for name, value in headers:
        if name not in _READ_HEADERS:
            continue
        if name == b"content-length":
            length = int(value) if value.isdigit() else 0
        elif name == b"content-encoding":
            content_encodings.append(value)
        elif name == b"x-client-request-id":
            client_request_id = _clients_id(value)
        elif name == b"x-session-id":
            session = _clients_id(value)
    return length, content_encodings, client_request_id, session


def _clients_id(value: bytes) -> str:
    """Return a client's id, or an empty text if it is not fit for a log: printable ASCII of limited length."""
    text = value.decode("latin-1") if len(value) <= MAX_CLIENT_ID_LENGTH else ""
    return text if text.isascii() and text.isprintable() else ""
