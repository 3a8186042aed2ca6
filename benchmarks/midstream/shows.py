"""What the replicas' own metrics show: who leaves, who stays, what does not end, and a replica that is killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import aiohttp

from benchmarks.affinity.conversations import scripts
from benchmarks.common.processes import StartFailed
from benchmarks.common.servers import CHAT, connector_and_url
from benchmarks.midstream.engine_metrics import (
    CACHE_HITS,
    CACHE_QUERIES,
    ENDED,
    GENERATED,
    REPEATED,
    RUNNING,
    STARTED,
    Reading,
    part,
    read_all,
    total,
)

LONG, SHORT, TURNS = 1900, 16, 4
"""tokens of an answer whose client leaves, and of one of a conversation; the turns of a conversation"""
BEGUN = 8
"""tokens that are generated before the client leaves"""
QUIET_S = 3.0
LIMIT_S = 900.0
POLL_S = 0.05
KILLED_POLL_S = 0.3
ENDLESS = {
    "messages": [{"role": "user", "content": "List the colours of the rainbow as JSON."}],
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "colours", "schema": {"type": "array", "items": {"type": "string"}}},
    },
}
"""without a limit, SmolLM2-135M begins a version number and repeats a piece of it"""


async def cancellation(root: str, engines: Sequence[str], model: str, *, stream: bool) -> dict[str, Any]:
    """Leave while a replica generates; read when it has stopped, and some seconds later."""
    question = [{"role": "user", "content": "Tell a long story."}]
    body = {"model": model, "messages": question, "max_tokens": LONG, "ignore_eos": True, "stream": stream}
    idle = await read_all(engines)
    client = asyncio.create_task(_ask(root, body))
    running = await _read_until(engines, lambda now: total(now, GENERATED) - total(idle, GENERATED) >= BEGUN)
    client.cancel()
    left = perf_counter()
    with contextlib.suppress(asyncio.CancelledError):
        await client
    stopped = await _read_until(engines, lambda now: total(now, RUNNING) == 0)
    took = perf_counter() - left
    await asyncio.sleep(QUIET_S)
    moments = {"before": running, f"{took:.1f} s after": stopped, f"{QUIET_S:g} s later": await read_all(engines)}
    what = "a stream" if stream else "a whole answer"
    return part(f"cancellation: the client of {what} leaves", (RUNNING, GENERATED, ENDED), moments)


async def affinity(root: str, engines: Sequence[str], model: str) -> dict[str, Any]:
    """Hold a conversation; read after each turn."""
    [script] = scripts(conversations=1, turns=TURNS, agents=1, think_s=1)
    messages = [{"role": "system", "content": script.system}]
    moments = {"before": await read_all(engines)}
    for number, text in enumerate(script.turns, 1):
        messages.append({"role": "user", "content": text})
        body = {"model": model, "messages": messages, "max_tokens": SHORT, "temperature": 0}
        messages.append((await _ask(root, body))["choices"][0]["message"])
        moments[f"turn {number}"] = await read_all(engines)
    return part("affinity: the turns of a conversation", (CACHE_QUERIES, CACHE_HITS, ENDED), moments)


async def endless(root: str, engines: Sequence[str], model: str) -> dict[str, Any]:
    """Ask for a whole answer that does not end: a replica directly, then the gateway."""
    moments = {"before": await read_all(engines)}
    for name, asked in (("directly", engines[0]), ("through the gateway", root)):
        began = perf_counter()
        await _ask(asked, {"model": model, "temperature": 0, **ENDLESS})
        moments[f"{name} {perf_counter() - began:.0f} s"] = await read_all(engines)
    return part("endless output: an answer under a schema, without a limit", (GENERATED, REPEATED), moments)


async def failover(
    engines: Sequence[str], killed: str, before: Sequence[Reading], running: asyncio.Task[Any]
) -> dict[str, Any]:
    """Read from the kill of a replica on, until the streams have ended and it answers again.

    Raises:
        StartFailed: the killed replica did not come back.
    """
    place = engines.index(killed)
    began, back_s, most = perf_counter(), 0.0, list[Reading]()
    while not (running.done() and back_s):
        await asyncio.sleep(KILLED_POLL_S)
        now = await read_all(engines)
        took = perf_counter() - began
        if not now[place]:
            most = max(most, now, key=lambda readings: total(readings, RUNNING))
        elif most and not back_s:
            back_s = took
        if took > LIMIT_S:
            raise StartFailed(f"the killed replica did not answer within {LIMIT_S:g} s")
    moments = {"at the kill": before, "most while it is down": most, f"it answers after {back_s:.0f} s": now}
    name = f"failover and restart: replica {place} is killed under {total(before, RUNNING):g} streams"
    return part(name, (RUNNING, ENDED, GENERATED, STARTED), moments)


async def _ask(root: str, body: dict[str, Any]) -> Any:
    """Return the answer of a server; a stream's as bytes."""
    connector, url = connector_and_url(root, CHAT)
    timeout = aiohttp.ClientTimeout(total=LIMIT_S)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        session.post(url, json=body) as answer,
    ):
        return await answer.read() if body.get("stream") else await answer.json()


async def _read_until(engines: Sequence[str], met: Callable[[Sequence[Reading]], bool]) -> list[Reading]:
    """Return the first reading that meets a condition.

    Raises:
        StartFailed: none does in time.
    """
    end = perf_counter() + LIMIT_S
    while not met(now := await read_all(engines)):
        if perf_counter() > end:
            raise StartFailed(f"the replicas' metrics are {now} after {LIMIT_S:g} s")
        await asyncio.sleep(POLL_S)
    return now
