"""What comes before a request is one: heads without end, and bytes that are no HTTP."""

from __future__ import annotations

import json
import socket

import pytest

from tests.support.gateway import Gateway
from tests.support.waiting import PATIENCE_S


def answer(gateway: Gateway, *pieces: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was refused before all was sent
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionResetError:
            pass
    return received


def error_of(received: bytes) -> dict[str, str]:
    return json.loads(received.partition(b"\r\n\r\n")[2])["error"]


def test_what_is_no_http_is_a_400_in_the_usual_shape(gateway: Gateway) -> None:
    received = answer(gateway, b"\x16\x03\x01 hello\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 400 ")
    assert error_of(received)["code"] == "invalid_http"


@pytest.mark.parametrize("endless", [b"x-%d: " + b"y" * 8000 + b"\r\n", b"%d" + b"y" * 8000])
def test_headers_without_end_are_refused_early(gateway: Gateway, endless: bytes) -> None:
    pieces = [endless.replace(b"%d", b"%d" % i) for i in range(400)]
    received = answer(gateway, b"GET /health HTTP/1.1\r\nhost: x\r\nx-long: ", *pieces)
    if received:  # else the connection was reset while we still sent
        assert received.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        assert error_of(received)["type"] == "invalid_request_error"
    assert b"200 OK" not in received
    assert gateway.http.get("/health").status_code == 200


def test_many_requests_on_one_connection_are_no_long_head(gateway: Gateway) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as connection:
        for _ in range(30):
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\nx-pad: " + b"y" * 5000 + b"\r\n\r\n")
            received = b""
            while not received.endswith(b'{"status":"ok"}'):
                received += connection.recv(65536)
            assert received.startswith(b"HTTP/1.1 200 ")
