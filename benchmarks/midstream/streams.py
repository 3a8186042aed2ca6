"""Streams that are read event by event while something happens to their servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import aiohttp

SUMMARY = b": smallfirst "
LIMIT_S = 900.0


@dataclass(slots=True)
class Stream:
    """One stream, as its client sees it."""

    body: Mapping[str, Any]
    text: str = ""
    pieces: int = 0
    longest_silence_s: float = 0.0
    """between two pieces of the text"""
    finish_reasons: list[str] = field(default_factory=list)
    usages: list[Mapping[str, int]] = field(default_factory=list)
    frames: set[tuple[Any, ...]] = field(default_factory=set)
    """the different (id, created, model) of its events"""
    summary: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    done: bool = False

    def row(self) -> dict[str, Any]:
        """Return it for a report."""
        return {
            "format": "JSON schema" if "response_format" in self.body else "text",
            "text": self.text,
            "pieces": self.pieces,
            "longest_silence_s": round(self.longest_silence_s, 3),
            "finish_reasons": self.finish_reasons,
            "usages": self.usages,
            "frames": len(self.frames),
            "continued_by": self.summary.get("continued_by", []),
            "error": self.error,
            "done": self.done,
        }

    def read(self, event: bytes) -> None:
        """Take one event or comment."""
        if event.startswith(SUMMARY):
            self.summary = json.loads(event.removeprefix(SUMMARY))
        payload = event.removeprefix(b"data: ")
        if payload == b"[DONE]":
            self.done = True
        if payload in (event, b"[DONE]"):
            return
        chunk = json.loads(payload)
        if "error" in chunk:
            self.error = chunk["error"]["message"]
            return
        self.frames.add((chunk["id"], chunk["created"], chunk["model"]))
        self.usages += [chunk["usage"]] if chunk.get("usage") else []
        for choice in chunk["choices"]:
            text = choice["delta"].get("content") or ""
            self.text += text
            self.pieces += bool(text)
            self.finish_reasons += [choice["finish_reason"]] if choice["finish_reason"] else []


class Streams:
    """Several streams at once. `reached` waits until each has some pieces, or has ended."""

    def __init__(self, url: str, bodies: Sequence[Mapping[str, Any]]) -> None:
        self.streams = [Stream(body) for body in bodies]
        self._url = url
        self._news = asyncio.Condition()

    async def run(self) -> list[Stream]:
        """Ask for all of them; return them at their ends."""
        timeout = aiohttp.ClientTimeout(total=LIMIT_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector, read_bufsize=2**20) as session:
            await asyncio.gather(*(self._ask(session, one) for one in self.streams))
        return self.streams

    async def reached(self, pieces: int) -> None:
        """Wait until every stream has so many pieces of its text."""
        async with self._news:
            await self._news.wait_for(
                lambda: all(one.pieces >= pieces or one.done or one.error for one in self.streams)
            )

    async def _ask(self, session: aiohttp.ClientSession, stream: Stream) -> None:
        try:
            async with session.post(self._url, json=stream.body) as answer:
                if answer.status != 200:
                    stream.error = f"status {answer.status}: {(await answer.read())[:200]!r}"
                last = perf_counter()
                async for line in answer.content:
                    before = stream.pieces
                    if line.strip():
                        stream.read(line.strip())
                    if stream.pieces > before:
                        now = perf_counter()
                        if before:
                            stream.longest_silence_s = max(stream.longest_silence_s, now - last)
                        last = now
                        async with self._news:
                            self._news.notify_all()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            stream.error = repr(error)
        async with self._news:
            self._news.notify_all()
