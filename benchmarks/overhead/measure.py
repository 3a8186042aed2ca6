"""One load on one address: CPU of the gateway's processes, latency, throughput. Rounds take turns between addresses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks import cpu, load
from benchmarks.overhead.scenarios import Scenario

KEY = "sk-benchmark-0123456789"
SETTLE_S = 0.15  # what a gateway does after its last answer (metrics, logs) belongs to the request


@dataclass(frozen=True, slots=True)
class Target:
    """What is measured."""

    name: str
    base_url: str
    """with `/v1`, as in an OpenAI SDK"""
    pid: int | None = None
    """whose process tree's CPU is measured; none: latency and throughput only"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round. Times of the client are milliseconds."""

    requests: int
    wall_s: float
    cpu_us: float | None
    """microseconds of CPU for each request, of the target's whole process tree"""
    p50_ms: float
    p99_ms: float
    first_p50_ms: float | None
    """of streams: until the first event with content"""

    @property
    def per_s(self) -> float:
        """Return requests per second."""
        return self.requests / self.wall_s


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all values do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


async def measure(target: Target, scenario: Scenario) -> Sample:
    """Run the scenario once.

    Raises:
        LoadFailed: an answer had an error.
    """
    meter = cpu.Meter(target.pid) if target.pid else None
    began = time.perf_counter()
    answers = await _ask(target, scenario, scenario.requests, keep=False)
    wall_s = time.perf_counter() - began
    await asyncio.sleep(SETTLE_S)
    used = meter.lap() if meter else None
    took = [(answer.ended - answer.started) * 1000 for answer in answers]
    firsts = [(answer.first - answer.started) * 1000 for answer in answers if answer.first is not None]
    return Sample(
        requests=scenario.requests,
        wall_s=wall_s,
        cpu_us=None if used is None else used / scenario.requests * 1e6,
        p50_ms=percentile(took, 50),
        p99_ms=percentile(took, 99),
        first_p50_ms=median(firsts) if firsts else None,
    )


async def warm_up(target: Target, scenario: Scenario) -> None:
    """Open the connections, and see that the answers' text comes through.

    Raises:
        LoadFailed: it does not, or an answer had an error.
    """
    for answer in await _ask(target, scenario, 2 * scenario.connections + 8, keep=True):
        text = _text(answer.body, stream=scenario.script.stream)
        if text != scenario.script.text:
            expected = scenario.script.text
            raise load.LoadFailed(f"{scenario.name}, {target.name}: answered {text!r}, expected {expected!r}")


async def interleave(
    scenario: Scenario, targets: Sequence[Target], rounds: int, show: Callable[[str], None]
) -> dict[str, list[Sample]]:
    """Measure every target once in each round, so that what disturbs the machine disturbs all of them."""
    samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
    for target in targets:
        await warm_up(target, scenario)
    for number in range(1, rounds + 1):
        for target in targets:
            samples[target.name].append(await measure(target, scenario))
        last = (f"{name} {_brief(taken[-1])}" for name, taken in samples.items())
        show(f"{scenario.name} {number}/{rounds}: {', '.join(last)}")
    return samples


@contextlib.contextmanager
def apart(client_side: Sequence[int], gateways: Sequence[int]) -> Iterator[None]:
    """Keep the client (this process) and the upstream on the first CPU, and every gateway off it.

    Where the scheduler moves them about, a stream's events reach a gateway now one by one, now in heaps, and what a
    stream costs doubles or halves from round to round. With a single CPU, nothing is done.
    """
    allowed = os.sched_getaffinity(0)
    first = {min(allowed)}
    if not allowed - first:
        yield
        return
    try:
        _keep_on(first, [os.getpid(), *client_side])
        _keep_on(allowed - first, gateways)
        yield
    finally:
        _keep_on(allowed, [os.getpid(), *client_side, *gateways])


def _keep_on(cpus: set[int], roots: Sequence[int]) -> None:
    """Bind every thread of these processes, and of all below them."""
    own = os.getpid()
    for root in roots:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            for pid in [own] if root == own else cpu.tree(root):  # what this process started is listed by itself
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with contextlib.suppress(ProcessLookupError):
                        os.sched_setaffinity(int(thread), cpus)


async def _ask(target: Target, scenario: Scenario, requests: int, *, keep: bool) -> list[load.Answer]:
    headers = {"authorization": f"Bearer {KEY}"} if scenario.key else {}
    answers = await load.run(
        f"{target.base_url}/chat/completions",
        scenario.bodies(),
        requests=requests,
        concurrency=scenario.connections,
        headers=headers,
        keep=keep,
    )
    load.refuse_errors(f"{scenario.name}, {target.name}", answers)
    return answers


def _text(body: bytes, *, stream: bool) -> str:
    if not stream:
        return str(json.loads(body)["choices"][0]["message"]["content"])
    lines = body.replace(b"\r\n", b"\n").split(b"\n")
    payloads = (line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:"))
    events = [json.loads(payload) for payload in payloads if payload != b"[DONE]"]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])


def _brief(sample: Sample) -> str:
    return f"{sample.p50_ms:.2f} ms" if sample.cpu_us is None else f"{sample.cpu_us:.0f} us"
