"""Interleaved measurements of two targets: samples of load in ABBA rounds, and paired single requests."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Sequence
from typing import Protocol

from benchmarks.common import cpu, load
from benchmarks.common.background_load import NOISY_CORES, BackgroundLoad
from benchmarks.common.load import Answer, Endpoint
from benchmarks.common.report import Say
from benchmarks.vllm.bodies import Bodies, count_tokens
from benchmarks.vllm.samples import ABBA, BAAB, Pair, Round, Sample, Workload, busiest_background, sample_of, speed
from benchmarks.vllm.targets import Target, TargetName

TIMEOUT_S = 900.0
WARM_UP_TOKENS = 8


class LoadClient(Protocol):
    """The load client, `benchmarks.common.load.run`."""

    def __call__(
        self,
        endpoint: Endpoint,
        bodies: Sequence[bytes],
        *,
        requests: int,
        concurrency: int,
        keep: bool,
        timeout_s: float,
    ) -> Awaitable[list[Answer]]:
        """See `benchmarks.common.load.run`."""
        ...


class Measurement:
    """Sends the load to both targets and times it."""

    def __init__(
        self, direct: Target, gateway: Target, bodies: Bodies, say: Say, client: LoadClient = load.run
    ) -> None:
        self._targets = {target.name: target for target in (direct, gateway)}
        self._bodies = bodies
        self._say = say
        self._background = BackgroundLoad(gateway.tree) if gateway.tree else None
        self._client = client

    async def rounds(self, workloads: Sequence[Workload], count: int) -> list[Round]:
        """Measure every workload in every round, so that a drift of the machine affects all of them.

        Raises:
            LoadFailed: a request failed.
            WrongTokenCount: an answer had another number of tokens than asked for.
        """
        self._say("warming up")
        for workload in workloads:
            tokens = min(WARM_UP_TOKENS, workload.max_tokens)
            for name in ABBA[:2]:
                await self._sample(name, Workload(workload.concurrency, workload.concurrency, tokens, workload.stream))
        done = []
        for number in range(count):
            for workload in workloads:
                samples = [await self._sample(name, workload) for name in (BAAB if number % 2 else ABBA)]
                done.append(Round(workload, tuple(samples)))
                self._say(f"  round {number + 1} of {count}, {workload}: {_summary(done[-1])}")
        return done

    async def pairs(self, count: int, max_tokens: int) -> list[Pair]:
        """Time single streams in pairs. The target that goes first alternates.

        Raises:
            LoadFailed: a request failed.
            WrongTokenCount: an answer had another number of tokens than asked for.
        """
        done: list[Pair] = []
        for number in range(count):
            order = BAAB[:2] if number % 2 else ABBA[:2]
            times = {name: await self._first_ms(name, max_tokens) for name in order}
            done.append(Pair(order[0], times["direct"], times["gateway"]))
            if (number + 1) % 25 == 0 or number + 1 == count:
                added = statistics.median(pair.gateway_ms - pair.direct_ms for pair in done)
                self._say(f"  {number + 1} of {count} pairs: the gateway adds {added:+.2f} ms to the first token")
        return done

    async def _first_ms(self, name: TargetName, max_tokens: int) -> float:
        """Return the time to the first content of a stream, on a connection that a short stream has opened."""
        target = self._targets[name]
        bodies = [self._bodies.make(target.model, max_tokens=tokens, stream=True) for tokens in (1, max_tokens)]
        answers = await self._send(target.endpoints()[0], bodies, 1)
        load.refuse_errors(name, answers)
        count_tokens(answers[1:], max_tokens)
        if answers[1].first is None:
            raise load.LoadFailed(f"{name}: a stream had no content: {answers[1].body[-300:]!r}")
        return (answers[1].first - answers[1].started) * 1e3

    async def _sample(self, name: TargetName, workload: Workload) -> Sample:
        target = self._targets[name]
        batches = self._batches(target, workload)
        used = sum(map(cpu.seconds, target.pids))
        if self._background:
            self._background.lap()
        own, clock = time.process_time(), time.perf_counter()
        parts = await asyncio.gather(*(self._send(*batch) for batch in batches))
        busy = (time.process_time() - own) / (time.perf_counter() - clock)
        gateway_cpu_s = sum(map(cpu.seconds, target.pids)) - used if target.pids else None
        others_busy = self._background.lap() if self._background else None
        answers = [answer for part in parts for answer in part]
        load.refuse_errors(f"{name}, {workload}", answers)
        return sample_of(
            name,
            answers,
            workload.max_tokens,
            gateway_cpu_s=gateway_cpu_s,
            client_busy=busy,
            others_busy=others_busy,
        )

    def _batches(self, target: Target, workload: Workload) -> list[tuple[Endpoint, list[bytes], int]]:
        """Divide a workload among a target's servers: of each its endpoint, its requests, and how many at a time."""
        endpoints = target.endpoints()[: workload.concurrency]
        requests = split(workload.requests, len(endpoints))
        concurrency = split(workload.concurrency, len(endpoints))
        return [
            (
                endpoint,
                [
                    self._bodies.make(target.model, max_tokens=workload.max_tokens, stream=workload.stream)
                    for _ in range(count)
                ],
                at_a_time,
            )
            for endpoint, count, at_a_time in zip(endpoints, requests, concurrency, strict=True)
        ]

    async def _send(self, endpoint: Endpoint, bodies: Sequence[bytes], concurrency: int) -> list[Answer]:
        return await self._client(
            endpoint, bodies, requests=len(bodies), concurrency=concurrency, keep=True, timeout_s=TIMEOUT_S
        )


def split(total: int, parts: int) -> list[int]:
    """Return `parts` whole numbers, as equal as possible, that add up to `total`."""
    return [total // parts + (index < total % parts) for index in range(parts)]


def _summary(one: Round) -> str:
    speeds = ", ".join(f"{name} {speed(one.of(name)):.1f}" for name in ABBA[:2])
    background = busiest_background(one.samples) or 0.0
    warning = f" (other programs used up to {background:.1f} cores)" if background > NOISY_CORES else ""
    return f"{speeds} tokens/s{warning}"
