"""Which process of a gateway holds which connection, as the kernel says."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.gateway import Gateway
from tests.support.processes import Process, command_of, descendants
from tests.support.waiting import PATIENCE_S

LISTEN = "0A"


def _sockets(port: int) -> Iterator[tuple[int, str, str]]:
    """Yield the peer's port, the state and the inode of every socket on a local port."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port:
            yield int(fields[2].rpartition(":")[2], 16), fields[3], fields[9]


def _holds(pid: int, inode: str) -> bool:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if os.readlink(file) == f"socket:[{inode}]":
                return True
        except OSError:
            continue
    return False


def children(gateway: Gateway) -> list[Process]:
    """The forked processes: what they started has another command."""
    command = command_of(gateway.process.pid)
    return [process for process in descendants(gateway.process.pid) if process.command == command]


def workers(gateway: Gateway) -> list[Process]:
    """The processes that serve: each listens on one socket."""
    listening = [inode for _, state, inode in _sockets(gateway.port) if state == LISTEN]
    return [child for child in children(gateway) if sum(_holds(child.pid, inode) for inode in listening) == 1]


def fleet(gateway: Gateway) -> Process:
    serving = workers(gateway)
    [only] = [child for child in children(gateway) if child not in serving]
    return only


class Connection:
    """One connection, and the worker that has it."""

    def __init__(self, gateway: Gateway) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE_S)
        assert self.get("/health") == '{"status":"ok"}'
        port = self._http.sock.getsockname()[1]
        inodes = [inode for peer, _, inode in _sockets(gateway.port) if peer == port]
        [self.pid] = [child.pid for child in workers(gateway) if any(_holds(child.pid, inode) for inode in inodes)]

    def get(self, path: str) -> str:
        self._http.request("GET", path)
        return self._http.getresponse().read().decode()

    def send(self, body: Mapping[str, Any]) -> None:
        """Ask, and do not wait for the answer."""
        content = json.dumps(dict(body))
        self._http.request("POST", "/v1/chat/completions", content, {"content-type": "application/json"})

    def post(self, body: Mapping[str, Any]) -> http.client.HTTPResponse:
        """Ask; the answer's head has come, its body is the caller's to read."""
        self.send(body)
        return self._http.getresponse()

    def ask(self, body: Mapping[str, Any]) -> tuple[int, Mapping[str, str], bytes]:
        response = self.post(body)
        return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()

    def close(self) -> None:
        self._http.close()


@contextmanager
def one_each(gateway: Gateway, count: int = 2) -> Iterator[list[Connection]]:
    """A connection to each worker."""
    found: dict[int, Connection] = {}
    try:
        for _ in range(200):
            connection = Connection(gateway)
            if connection.pid in found:
                connection.close()
            else:
                found[connection.pid] = connection
            if len(found) == count:
                break
        assert len(found) == count, "the kernel gave all connections to one worker"
        yield list(found.values())
    finally:
        for connection in found.values():
            connection.close()
