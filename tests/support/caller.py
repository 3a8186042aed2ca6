"""A client on a raw socket: it can stop reading, and leave whenever it wants."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from typing import Any

from tests.support.gateway import Gateway
from tests.support.waiting import PATIENCE_S


class Caller:
    """One request on a connection of its own; `with Caller(gateway, body) as caller`."""

    def __init__(
        self,
        gateway: Gateway,
        body: Mapping[str, Any],
        *,
        path: str = "/v1/chat/completions",
        receive_buffer: int | None = None,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE_S)
        self.socket.connect(("127.0.0.1", gateway.port))
        content = json.dumps(dict(body)).encode()
        key = f"authorization: Bearer {gateway.key}\r\n" if gateway.key else ""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{gateway.port}\r\n{key}"
            f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + content)
        self.received = b""

    def read_until(self, mark: bytes) -> bytes:
        """Read until `mark` has come; return all that came so far."""
        while mark not in self.received:
            data = self.socket.recv(65536)
            assert data, f"the connection ended before {mark!r}; so far: {self.received[-500:]!r}"
            self.received += data
        return self.received

    def read_to_end(self, most: int = 1 << 30) -> int:
        """Read until the chunked body ends or the connection does; keep only the tail, return how much came."""
        count = len(self.received)
        while not self.received.endswith(b"0\r\n\r\n") and count < most:
            data = self.socket.recv(1 << 20)
            if not data:
                break
            count += len(data)
            self.received = (self.received + data)[-4096:]
        return count

    def leave(self) -> None:
        self.socket.close()

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.close()
