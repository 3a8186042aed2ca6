"""Asks many questions at a time, keeps every answer at once, and asks none again whose answer is kept."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.load import CONTENT
from benchmarks.structured.reply import NotUnderstood, Reply, read
from benchmarks.vllm.sides import NotThere, address

CHAT = "/v1/chat/completions"
TIMEOUT_S = 900.0
REPORT_EVERY = 25


class Kept:
    """The answers of a run in a file of JSON Lines, so that a run that was stopped goes on where it was."""

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        written = file.read_bytes()
        whole = written[: written.rfind(b"\n") + 1]
        if whole != written:  # the run was stopped in the middle of a line
            file.write_bytes(whole)
        self._replies = {row["key"]: Reply(**row["reply"]) for row in map(json.loads, whole.splitlines())}

    def get(self, key: str) -> Reply | None:
        """Return the kept answer; None: there is none."""
        return self._replies.get(key)

    def add(self, key: str, reply: Reply) -> None:
        """Keep an answer."""
        self._replies[key] = reply
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "reply": asdict(reply)}) + "\n")


def key(way: str, task: str, body: Mapping[str, Any]) -> str:
    """Return what names an answer: another question to the same task is another answer."""
    return f"{way} {task} {hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]}"


async def ask_all(
    root: str,
    bodies: Mapping[str, Mapping[str, Any]],
    kept: Kept,
    *,
    concurrency: int,
    say: Callable[[str], None],
) -> dict[str, Reply]:
    """Return the answer to each body by its key (see `key`), the server being at `http://host:port` or `unix:/path`.

    Raises:
        NotThere: the server went away.
    """
    socket = root.removeprefix("unix:") if root.startswith("unix:") else ""
    connector = aiohttp.UnixConnector(socket, limit=0) if socket else aiohttp.TCPConnector(limit=0)
    url = f"http://localhost{CHAT}" if socket else address(root, CHAT)
    waiting = [name for name in bodies if kept.get(name) is None]
    turns = iter(waiting)
    answered = 0

    async def worker(session: aiohttp.ClientSession) -> None:
        nonlocal answered
        for name in turns:
            began = time.monotonic()
            reply = await _ask(session, url, bodies[name], began)
            kept.add(name, replace(reply, seconds=_since(began)))
            answered += 1
            if answered % REPORT_EVERY == 0:
                say(f"  {answered} of {len(waiting)}")

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(worker(session) for _ in range(min(concurrency, len(waiting)))))
    return {name: reply for name in bodies if (reply := kept.get(name)) is not None}


async def _ask(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], began: float) -> Reply:
    said, first_s = bytearray(), None
    try:
        async with session.post(url, json=body) as answer:
            async for piece in answer.content.iter_any():
                said += piece
                if first_s is None and CONTENT.search(said):
                    first_s = _since(began)
            reply = read(answer.status, answer.headers, bytes(said))
            return replace(reply, id=answer.headers.get("x-request-id", ""), first_s=first_s)
    except NotUnderstood as error:
        return Reply(0, error="not_understood", message=str(error))
    except TimeoutError:
        return Reply(0, error="no_answer_in_time")
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as error:
        return Reply(0, error="connection_lost", message=repr(error))
    except aiohttp.ClientError as error:
        raise NotThere(f"{url} does not answer: {error!r}") from None


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
