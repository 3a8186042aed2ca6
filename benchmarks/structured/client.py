"""Sends many requests at a time, stores every answer at once, and does not repeat a request that has an answer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.common.load import CONTENT
from benchmarks.common.report import Say
from benchmarks.common.servers import CHAT, NoAnswer, connector_and_url
from benchmarks.structured.reply import NotUnderstood, Reply, read

TIMEOUT_S = 900.0
REPORT_EVERY = 25


class AnswerStore:
    """The answers of a run in a JSON Lines file, so that a stopped run can be continued."""

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
        """Return the stored answer; None: there is none."""
        return self._replies.get(key)

    def add(self, key: str, reply: Reply) -> None:
        """Store an answer."""
        self._replies[key] = reply
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"key": key, "reply": asdict(reply)}) + "\n")


def answer_key(variant: str, task: str, body: Mapping[str, Any]) -> str:
    """Return the key of an answer. It depends on the body, so a changed request is sent again."""
    return f"{variant} {task} {hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]}"


async def ask_all(
    root: str,
    bodies: Mapping[str, Mapping[str, Any]],
    store: AnswerStore,
    *,
    concurrency: int,
    say: Say,
) -> dict[str, Reply]:
    """Return the answer to each body by its key (see `answer_key`).

    Args:
        root: the server: `http://host:port` or `unix:/path`.
        bodies: key -> request body.
        store: holds earlier answers, and gets the new ones.
        concurrency: requests at a time.
        say: prints the progress.

    Raises:
        NoAnswer: the server does not answer any more.
    """
    connector, url = connector_and_url(root, CHAT, limit=0)
    waiting = [name for name in bodies if store.get(name) is None]
    turns = iter(waiting)
    answered = 0

    async def worker(session: aiohttp.ClientSession) -> None:
        nonlocal answered
        for name in turns:
            began = time.monotonic()
            reply = await _ask(session, url, bodies[name], began)
            store.add(name, replace(reply, seconds=_since(began)))
            answered += 1
            if answered % REPORT_EVERY == 0:
                say(f"  {answered} of {len(waiting)}")

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await asyncio.gather(*(worker(session) for _ in range(min(concurrency, len(waiting)))))
    return {name: reply for name in bodies if (reply := store.get(name)) is not None}


async def _ask(session: aiohttp.ClientSession, url: str, body: Mapping[str, Any], began: float) -> Reply:
    received, first_s = bytearray(), None
    try:
        async with session.post(url, json=body) as answer:
            async for piece in answer.content.iter_any():
                received += piece
                if first_s is None and CONTENT.search(received):
                    first_s = _since(began)
            reply = read(answer.status, answer.headers, bytes(received))
            return replace(reply, id=answer.headers.get("x-request-id", ""), first_s=first_s)
    except NotUnderstood as error:
        return Reply(0, error="not_understood", message=str(error))
    except TimeoutError:
        return Reply(0, error="no_answer_in_time")
    except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as error:
        return Reply(0, error="connection_lost", message=repr(error))
    except aiohttp.ClientError as error:
        raise NoAnswer(f"{url} does not answer: {error!r}") from None


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)
