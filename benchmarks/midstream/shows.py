"""Shown by the replicas' own metrics: a client that leaves, a conversation that stays, and a replica that is killed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import aiohttp

from benchmarks.affinity.conversations import scripts
from benchmarks.common.processes import StartFailed
from benchmarks.midstream.engine_metrics import (
    ABORTED,
    CACHE_HITS,
    CACHE_QUERIES,
    ENDED,
    GENERATED,
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
LIMIT_S = 600.0
POLL_S = 0.05
KILLED_POLL_S = 0.3


async def cancellation(url: str, engines: Sequence[str], model: str, *, stream: bool) -> dict[str, Any]:
    """Leave while a replica generates; read when it has stopped, and some seconds later."""
    question = [{"role": "user", "content": "Tell a long story."}]
    body = {"model": model, "messages": question, "max_tokens": LONG, "ignore_eos": True, "stream": stream}
    idle = await read_all(engines)
    client = asyncio.create_task(_ask(url, body))
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
    return part(f"cancellation: the client of {what} leaves", (RUNNING, GENERATED, ABORTED), moments)


async def affinity(url: str, engines: Sequence[str], model: str) -> dict[str, Any]:
    """Hold a conversation; read after each turn."""
    [script] = scripts(conversations=1, turns=TURNS, agents=1, think_s=1)
    messages = [{"role": "system", "content": script.system}]
    moments = {"before": await read_all(engines)}
    for number, text in enumerate(script.turns, 1):
        messages.append({"role": "user", "content": text})
        body = {"model": model, "messages": messages, "max_tokens": SHORT, "temperature": 0}
        messages.append((await _ask(url, body))["choices"][0]["message"])
        moments[f"turn {number}"] = await read_all(engines)
    return part("affinity: the turns of a conversation", (CACHE_QUERIES, CACHE_HITS, ENDED), moments)


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


async def _ask(url: str, body: dict[str, Any]) -> Any:
    """Return the answer; a stream's as bytes."""
    timeout = aiohttp.ClientTimeout(total=LIMIT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, json=body) as answer:
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
