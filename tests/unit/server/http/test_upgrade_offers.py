"""A server may ignore an offer to change the protocol, and this one does: the request is read as if there were none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from server.http.middleware import read_body
from tests.unit.server.http.test_protocol import connect


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = scope["path"].encode() + b" " + await read_body(receive)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


FRAMED = [
    (b"content-length: 5\r\n\r\nhello", b"hello"),
    (b"transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\nx-trailer: 1\r\n\r\n", b"hello"),
    (b"content-length: 0\r\n\r\n", b""),
    (b"\r\n", b""),
]
OFFERS = [
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
    b"connection: upgrade\r\nupgrade: TLS/1.2\r\n",
    b"connection: keep-alive, Upgrade\r\nupgrade: websocket\r\n",
]


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize(("framed", "body"), FRAMED)
@pytest.mark.parametrize("piece", [1, 7, 10_000])
async def test_an_offer_to_upgrade_is_ignored(offer: bytes, framed: bytes, body: bytes, piece: int) -> None:
    """The request is read, and so are those after it on the same connection, with an offer or without."""
    connection, transport = connect()
    connection.app = echo
    requests = b"".join(
        b"POST /%d HTTP/1.1\r\nhost: x\r\n" % number + some + framed for number, some in enumerate([offer, b"", offer])
    )
    for start in range(0, len(requests), piece):
        connection.data_received(requests[start : start + piece])
    while connection.tasks:
        await asyncio.gather(*connection.tasks)
    answers = [answer.partition(b"\r\n\r\n")[2] for answer in transport.sent.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert answers == [b"/%d " % number + body for number in range(3)]
    assert not transport.is_closing()
    connection.connection_lost(None)


async def test_many_offers_in_one_read_are_no_recursion() -> None:
    connection, transport = connect()
    connection.app = echo
    connection.data_received(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n" * 900)
    while connection.tasks:
        await asyncio.gather(*connection.tasks)
    assert transport.sent.count(b"HTTP/1.1 200 OK") == 900
    connection.connection_lost(None)


async def test_a_closing_request_that_offers_an_upgrade_is_the_last() -> None:
    connection, transport = connect()
    connection.app = echo
    head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close, upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\n"
    connection.data_received(head + b"{}")
    await asyncio.gather(*connection.tasks)
    assert transport.sent.endswith(b"/ {}")
    assert transport.is_closing()
    connection.connection_lost(None)


async def test_a_wrong_frame_behind_an_offer_is_refused() -> None:
    connection, transport = connect()
    connection.app = echo
    head = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n"
    connection.data_received(head + b"nonsense\r\n")
    assert transport.is_closing()
    assert b'"invalid_http"' in transport.sent
    for task in connection.tasks:
        task.cancel()
    connection.connection_lost(None)
