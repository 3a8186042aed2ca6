"""One start of a gateway, measured until its small model answers, and again after its vLLM was killed."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import aiohttp

from benchmarks.common import gateway
from benchmarks.common.cpu import tree
from benchmarks.common.processes import StartFailed
from benchmarks.common.servers import CHAT, served_models
from router.engine.process import Guarded, explain

Kind = Literal["cold", "warm"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LIMIT_S = 900.0
POLL_S = 0.1
TICK = os.sysconf("SC_CLK_TCK")
TIMES = slice(11, 15)  # of /proc/PID/stat after the name: user and system, own and of children that were waited for


@dataclass(frozen=True, slots=True)
class Start:
    """One start. The CPU time and the memory are those of all processes, the gateway's and vLLM's."""

    kind: Kind
    first_answer_s: float
    """from the command to the first answer"""
    cpu_s: float
    """used until then"""
    memory_gb: float
    """in use then: shared memory counts once (PSS)"""
    after_crash_s: float
    """from the kill of vLLM's API server to the next answer"""


async def measure_start(config: Path, kind: Kind, log: Path) -> Start:
    """Start a gateway, ask it until it answers, kill its vLLM, ask again until it answers, and stop it.

    Raises:
        StartFailed: it ended, or did not answer in time.
    """
    environment = {"SMALLFIRST_WARM_START": "false" if kind == "cold" else "true"}
    began = time.monotonic()
    process, root = await gateway.launch(gateway.Start(config, log, environment=environment))
    try:
        first = await _next_answer(process, root, log) - began
        pids = tree(process.pid)
        cpu_s, memory_gb = sum(map(_cpu_s, pids)), sum(map(_memory_gb, pids))
        killed = time.monotonic()
        os.kill(_api_server(pids), signal.SIGKILL)
        after_crash = await _next_answer(process, root, log) - killed
    finally:
        await asyncio.shield(gateway.stop(process))
    return Start(kind, first, cpu_s, memory_gb, after_crash)


async def _next_answer(process: Guarded, root: str, log: Path) -> float:
    """Ask until there is an answer; return when it was there."""
    deadline = time.monotonic() + LIMIT_S
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        while time.monotonic() < deadline:
            if (status := await process.exited(POLL_S)) is not None:
                raise StartFailed(f"`smallfirst serve` {explain(status)}:\n{gateway.tail(log)}")
            try:
                if await _answers(session, root):
                    return time.monotonic()
            except (aiohttp.ClientError, OSError, TimeoutError):
                continue  # it does not listen yet
    raise StartFailed(f"no answer after {LIMIT_S:.0f} s:\n{gateway.tail(log)}")


async def _answers(session: aiohttp.ClientSession, root: str) -> bool:
    async with session.get(f"{root}/health") as health:
        if health.status != 200:
            return False
    (model, *_) = await served_models(root)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    body = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0}
    async with session.post(root + CHAT, json=body) as answer:
        return answer.status == 200


def _api_server(pids: list[int]) -> int:
    """Return the process that vLLM's own processes descend from."""
    return next(pid for pid in pids if "--uds" in (words := gateway.command_words(pid)) and not gateway.is_guard(words))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return sum(map(int, fields[TIMES])) / TICK


def _memory_gb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1e6
    return 0.0
