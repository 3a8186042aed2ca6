"""A package `vllm` that is no vLLM: a small server, so that the gateway loads and unloads it as it does the real one.

`install(folder)` writes the package; with `folder` first in PYTHONPATH the gateway finds it. It answers chats word by
word, and is slow where the environment says so:

    VLLM_STANDIN_LOAD_S    how long a start takes
    VLLM_STANDIN_WORD_S    how long a word takes
    VLLM_STANDIN_EVENTS    a file: one line `TIME NAME EVENT` for each of up, busy N, down, asleep, awake
    VLLM_STANDIN_FAIL      the name of a model that cannot be started
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

WORDS = 8
MODULES = (
    "vllm/entrypoints/launchers/api_server/entry",
    "vllm/v1/engine/async_llm",
    "vllm/v1/engine/core",
    "vllm/v1/worker/cpu_worker",
)
"""what a warm start imports"""
PROGRAM = "from tests.support.standin_vllm import main\nif __name__ == '__main__':\n    main()\n"


def install(folder: Path) -> Path:
    """Write the package into a folder, and return the folder."""
    for module in MODULES:
        _write(folder / f"{module}.py", "")
    _write(folder / "vllm/entrypoints/openai/api_server.py", PROGRAM)
    return folder


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    for parent in file.parents:
        (parent / "__init__.py").touch()
        if parent.name == "vllm":
            break
    file.write_text(text)


class Event(NamedTuple):
    """A line of EVENTS."""

    at: float
    model: str
    what: str


def read_events(file: Path) -> list[Event]:
    """Return what has happened, in order."""
    lines = (line.split(" ", 2) for line in file.read_text().splitlines()) if file.exists() else ()
    return sorted(Event(float(at), model, what) for at, model, what in lines)


def most_loaded(events: list[Event]) -> int:
    """Return how many models were loaded at the same time at most."""
    loaded: set[str] = set()
    most = 0
    for event in events:
        if event.what in ("up", "awake"):
            loaded.add(event.model)
        elif event.what in ("down", "asleep"):
            loaded.discard(event.model)
        most = max(most, len(loaded))
    return most


class Engine:
    """One server."""

    def __init__(self, name: str, environ: Mapping[str, str]) -> None:
        self._name = name
        self._word_s = float(environ.get("VLLM_STANDIN_WORD_S", "0"))
        self._events = environ.get("VLLM_STANDIN_EVENTS")
        self._dev_mode = environ.get("VLLM_SERVER_DEV_MODE") == "1"
        self._started = time.time()
        self._busy = self._answered = self._generated = 0

    def tell(self, what: str) -> None:
        if self._events:
            with Path(self._events).open("a") as file:
                file.write(f"{time.time()} {self._name} {what}\n")

    async def serve(self, socket: str) -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await asyncio.start_unix_server(self._connection, socket)
        self.tell("up")
        await stopped.wait()
        self.tell(f"down {self._busy}" if self._busy else "down")

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                method, path, _ = line.decode().split()
                length = 0
                while (header := await reader.readline()) not in (b"\r\n", b""):
                    name, _, value = header.decode().partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                await self._answer(f"{method} {path}", await reader.readexactly(length), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, what: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if what == "POST /v1/chat/completions":
            self._busy += 1
            try:
                await self._chat(json.loads(body), writer)
                self._answered += 1
            finally:
                self._busy -= 1
            return
        if what == "GET /metrics":
            page = self._metrics().encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(page), page))
            await writer.drain()
            return
        if self._dev_mode and what in ("POST /sleep?level=1", "POST /wake_up"):
            self.tell("asleep" if "sleep" in what else "awake")
        elif what != "GET /health":
            writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    def _metrics(self) -> str:
        values = {
            "process_start_time_seconds": self._started,
            "vllm:num_requests_running": self._busy,
            "vllm:generation_tokens_total": self._generated,
            "vllm:request_success_total": self._answered,
        }
        return "".join(f"{name} {value}\n" for name, value in values.items())

    def _words(self, request: dict[str, Any]) -> list[str]:
        """Return the whole answer: one text for each property of a required schema, or as many words as it may have."""
        if (wanted := request.get("response_format") or {}).get("type") == "json_schema":
            names = wanted["json_schema"]["schema"]["properties"]
            return ["{", *", ".join(f'"{name}": "{self._name}"' for name in names).split(), "}"]
        words = request.get("max_tokens") or WORDS
        if request.get("continue_final_message"):
            words += len(request["messages"][-1]["content"].split())
        return [f"{self._name}-{number} " for number in range(words)]

    async def _chat(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        words = self._words(request)
        begun = len(request["messages"][-1]["content"].split()) if request.get("continue_final_message") else 0
        words = words[begun:]
        usage = {"prompt_tokens": 5 + begun, "completion_tokens": len(words), "total_tokens": 5 + begun + len(words)}
        common = {"id": "c", "created": 1, "model": self._name}
        if not request.get("stream"):
            await asyncio.sleep(self._word_s * len(words))
            message = {"role": "assistant", "content": "".join(words)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            body = json.dumps(common | {"object": "chat.completion", "choices": [choice], "usage": usage}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for choices, more in _events(words):
            if choices and choices[0]["finish_reason"] is None:
                await asyncio.sleep(self._word_s)
                self._generated += 1
            chunk = (
                common | {"object": "chat.completion.chunk", "choices": choices} | ({"usage": usage} if more else {})
            )
            _write_chunk(writer, b"data: " + json.dumps(chunk).encode() + b"\n\n")
            await writer.drain()
        _write_chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()


def _events(words: list[str]) -> Iterator[tuple[list[dict[str, Any]], bool]]:
    """Yield the choices of each event, and whether it has the usage."""
    for word in words:
        yield [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None}], False
    yield [{"index": 0, "delta": {}, "finish_reason": "stop"}], False
    yield [], True


def _write_chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%s\r\n" % (len(data), data))


def main() -> None:
    """Serve like `python -m vllm.entrypoints.openai.api_server`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--uds", required=True)
    parser.add_argument("--served-model-name", required=True)
    options, _ = parser.parse_known_args()
    name = options.served_model_name
    print("non-default args:", flush=True)
    time.sleep(float(os.environ.get("VLLM_STANDIN_LOAD_S", "0")))
    if name == os.environ.get("VLLM_STANDIN_FAIL"):
        sys.exit("ValueError: this model cannot be loaded")
    asyncio.run(Engine(name, os.environ).serve(options.uds))
