"""The scripted upstream: `python -m benchmarks.overhead.upstream --port 9100`. It answers as vLLM does, at little cost.

The model's name in the request selects the answer: `whole`, `stream64`, ... (see `answers.py`), with or without `auto-`
in front. So one address serves every scenario and every gateway. Each event of a stream is sent on its own, with one
turn of the event loop and one system call.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
from collections.abc import Sequence
from functools import partial

import httptools
import uvloop

from benchmarks.overhead.answers import SCRIPTS, Script

PAUSE_MS = 5.0
# quotes within a JSON string are escaped, so these match keys only
_MODEL = re.compile(rb'"model"\s*:\s*"(?:auto-)?([^"]*)"')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')

_NO_BODY = b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-length: 0\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class EncodedScript:
    """A script as the bytes of its writes."""

    def __init__(self, script: Script, pause_s: float) -> None:
        self.stream = script.stream
        self.pause_s = pause_s if script.paced else 0.0
        if not script.stream:
            self.with_usage = self.without_usage = [_json(200, script.whole())]
            return
        events = [_chunk(b"data: " + payload + b"\n\n") for payload in script.events()]
        first, *others, usage, done = events
        end = done + b"0\r\n\r\n"
        self.with_usage = [_STREAM_HEAD + first, *others, usage, end]
        self.without_usage = [_STREAM_HEAD + first, *others, end]


class _Connection(asyncio.Protocol):
    """One client, with one request at a time."""

    def __init__(self, scripts: dict[bytes, EncodedScript]) -> None:
        self._scripts = scripts
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []
        self._lost = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._url = b""
        self._body.clear()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        if self._url.endswith(b"/chat/completions"):
            self._answer(b"".join(self._body))
        elif self._url.endswith(b"/models"):
            models = [{"id": name, "object": "model", "owned_by": "vllm"} for name in SCRIPTS]
            self._transport.write(_json(200, json.dumps({"object": "list", "data": models}).encode()))
        elif self._url.endswith(b"/health"):
            self._transport.write(_NO_BODY)
        else:
            self._refuse(404, "no such path")

    def _answer(self, body: bytes) -> None:
        match = _MODEL.search(body)
        script = self._scripts.get(match[1]) if match else None
        if script is None:
            self._refuse(404, f"no such model; there are {', '.join(SCRIPTS)}")
        elif script.stream != bool(_STREAM.search(body)):
            self._refuse(400, f"this model answers only with {'streams' if script.stream else 'whole answers'}")
        else:
            self._send(script.with_usage if _USAGE.search(body) else script.without_usage, script.pause_s, 0)

    def _send(self, pieces: Sequence[bytes], pause_s: float, number: int) -> None:
        if self._lost:
            return
        self._transport.write(pieces[number])
        number += 1
        if number == len(pieces):
            return
        if pause_s:
            self._loop.call_later(pause_s, self._send, pieces, pause_s, number)
        else:
            self._loop.call_soon(self._send, pieces, pause_s, number)

    def _refuse(self, status: int, message: str) -> None:
        error = {"message": message, "type": "BadRequestError", "param": None, "code": status}
        self._transport.write(_json(status, json.dumps({"error": error}).encode()))


async def serve(port: int, pause_s: float) -> None:
    """Print the address, then serve on loopback until cancelled."""
    scripts = {name.encode(): EncodedScript(script, pause_s) for name, script in SCRIPTS.items()}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(_Connection, scripts), "127.0.0.1", port, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(f"upstream: http://127.0.0.1:{port}/v1 with the models {', '.join(SCRIPTS)}", flush=True)
    await server.serve_forever()


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead.upstream", description="A scripted upstream.")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0: any free one (default)")
    parser.add_argument(
        "--pause-ms", type=float, default=PAUSE_MS, help=f"of the model paced64 (default: {PAUSE_MS:g})"
    )
    arguments = parser.parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(arguments.port, arguments.pause_ms / 1000))


def _json(status: int, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status} {'OK' if status == 200 else 'Refused'}\r\nserver: uvicorn\r\n"
    return f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


if __name__ == "__main__":
    main()
