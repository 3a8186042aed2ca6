"""A small server on a Unix socket that answers vLLM's two calls for adapters, in vLLM's words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path


class AdapterEngine:
    """`async with AdapterEngine(socket) as engine`; what is loaded, which calls came, and what it does not take."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.calls: list[tuple[str, str]] = []
        """(load or unload, name at the engine), in order"""
        self.loaded: dict[str, Path] = {}
        self.refuses = ""
        """the message with which every load is refused"""
        self.silent = False
        """it reads calls and never answers"""

    async def __aenter__(self) -> AdapterEngine:
        self._server = await asyncio.start_unix_server(self._serve, self.socket)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.socket.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            fields = json.loads(await reader.readexactly(length))
            word = head.split("/v1/")[1].partition("_")[0]
            self.calls.append((word, fields["lora_name"]))
            if self.silent:
                await reader.read()
                return
            status, body = self._answer(word, fields)
            content = body.encode()
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
        finally:
            writer.close()

    def _answer(self, word: str, fields: dict[str, str]) -> tuple[int, str]:
        name = fields["lora_name"]
        if word == "unload":
            return (200, "Success") if self.loaded.pop(name, None) else (404, _error(f"'{name}' cannot be found."))
        if self.refuses:
            return 500, _error(self.refuses)
        if name in self.loaded:
            return 400, _error(f"The lora adapter '{name}' has already been loaded.")
        self.loaded[name] = Path(fields["lora_path"])
        return 200, "Success"


def _error(message: str) -> str:
    return json.dumps({"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}})
