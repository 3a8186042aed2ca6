"""Measures CPU, latency and throughput of one scenario. The targets take turns in every round."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.common import cpu, load
from benchmarks.common.report import Say
from benchmarks.overhead.scenarios import Scenario

KEY = "sk-benchmark-0123456789"
SETTLE_S = 0.15  # what a gateway does after its last answer, such as metrics and logs, is part of the request


@dataclass(frozen=True, slots=True)
class Target:
    """A server that is measured."""

    name: str
    base_url: str
    """with `/v1`, as in an OpenAI SDK"""
    pid: int | None = None
    """the root of its process tree, for CPU time; None: only latency and throughput are measured"""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round of one target, with the client's times in milliseconds."""

    requests: int
    wall_s: float
    cpu_us: float | None
    """CPU microseconds per request, of the target's whole process tree"""
    p50_ms: float
    p99_ms: float
    first_p50_ms: float | None
    """until the first event with content; None: no stream"""

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
    """Send some requests, and check that the answers have the scripted text.

    Raises:
        LoadFailed: an answer has another text, or an error.
    """
    for answer in await _ask(target, scenario, 2 * scenario.connections + 8, keep=True):
        text = _text(answer.body, stream=scenario.script.stream)
        if text != scenario.script.text:
            expected = scenario.script.text
            raise load.LoadFailed(f"{scenario.name}, {target.name}: answered {text!r}, expected {expected!r}")


async def interleave(scenario: Scenario, targets: Sequence[Target], rounds: int, say: Say) -> dict[str, list[Sample]]:
    """Measure every target once in each round, so that a disturbance of the machine affects all of them."""
    samples: dict[str, list[Sample]] = {target.name: [] for target in targets}
    for target in targets:
        await warm_up(target, scenario)
    for number in range(1, rounds + 1):
        for target in targets:
            samples[target.name].append(await measure(target, scenario))
        last = (f"{name} {_brief(taken[-1])}" for name, taken in samples.items())
        say(f"{scenario.name} {number}/{rounds}: {', '.join(last)}")
    return samples


@contextlib.contextmanager
def separate_cpus(client_side: Sequence[int], gateways: Sequence[int]) -> Iterator[None]:
    """Keep the client (this process) and the upstream on the first CPU, and every gateway on the others.

    If the scheduler moves them, a stream's events reach a gateway sometimes one by one and sometimes in batches, so the
    cost of a stream doubles or halves from round to round. With a single CPU, this does nothing.
    """
    allowed = os.sched_getaffinity(0)
    first = {min(allowed)}
    if not allowed - first:
        yield
        return
    try:
        _pin(first, [os.getpid(), *client_side])
        _pin(allowed - first, gateways)
        yield
    finally:
        _pin(allowed, [os.getpid(), *client_side, *gateways])


def _pin(cpus: set[int], roots: Sequence[int]) -> None:
    """Pin every thread of these processes and their descendants to these CPUs."""
    own = os.getpid()
    for root in roots:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            for pid in [own] if root == own else cpu.tree(root):  # its children are in the lists themselves
                for thread in os.listdir(f"/proc/{pid}/task"):
                    with contextlib.suppress(ProcessLookupError):
                        os.sched_setaffinity(int(thread), cpus)


async def _ask(target: Target, scenario: Scenario, requests: int, *, keep: bool) -> list[load.Answer]:
    headers = {"authorization": f"Bearer {KEY}"} if scenario.key else {}
    endpoint = load.Endpoint(f"{target.base_url}/chat/completions", headers)
    answers = await load.run(
        endpoint, scenario.bodies(), requests=requests, concurrency=scenario.connections, keep=keep
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
