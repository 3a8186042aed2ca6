"""Interleaved measurements of the two sides: legs of load in ABBA rounds, and paired single requests."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from benchmarks import cpu, load
from benchmarks.load import Answer
from benchmarks.vllm.bodies import Bodies, count_tokens
from benchmarks.vllm.legs import ABBA, BAAB, Leg, Pair, Round, Work, leg_of, most_others, speed
from benchmarks.vllm.others import NOISY, Others
from benchmarks.vllm.sides import Name, Side

TIMEOUT_S = 900.0
Say = Callable[[str], None]


class Ask(Protocol):
    """The load client, `benchmarks.load.run`."""

    def __call__(
        self,
        url: str,
        bodies: Sequence[bytes],
        *,
        requests: int,
        concurrency: int,
        headers: Mapping[str, str],
        keep: bool,
        timeout_s: float,
    ) -> Awaitable[list[Answer]]:
        """See `benchmarks.load.run`."""
        ...


class Bench:
    """Sends the load and times it."""

    def __init__(self, direct: Side, gateway: Side, bodies: Bodies, say: Say, ask: Ask = load.run) -> None:
        self._sides = {side.name: side for side in (direct, gateway)}
        self._bodies = bodies
        self._say = say
        self._others = Others(gateway.tree) if gateway.tree else None
        self._ask = ask

    async def rounds(self, works: Sequence[Work], count: int) -> list[Round]:
        """Measure every work in every round, so that drift meets all of them.

        Raises:
            LoadFailed: a request failed.
            UnequalWork: an answer had another number of tokens than asked for.
        """
        self._say("warming up")
        for work in works:
            for name in ABBA[:2]:
                await self._leg(name, Work(work.concurrency, work.concurrency, min(8, work.max_tokens), work.stream))
        done = []
        for number in range(count):
            for work in works:
                legs = [await self._leg(name, work) for name in (BAAB if number % 2 else ABBA)]
                done.append(Round(work, tuple(legs)))
                speeds = [f"{name} {speed(done[-1].of(name)):.1f}" for name in ABBA[:2]]
                noise = most_others(done[-1].legs) or 0.0
                aside = f" (other programs took up to {noise:.1f} cores)" if noise > NOISY else ""
                self._say(f"  round {number + 1} of {count}, {work}: {', '.join(speeds)} tokens/s{aside}")
        return done

    async def pairs(self, count: int, max_tokens: int) -> list[Pair]:
        """Time single streams in pairs; which side goes first alternates.

        Raises:
            LoadFailed: a request failed.
            UnequalWork: an answer had another number of tokens than asked for.
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

    async def _first_ms(self, name: Name, max_tokens: int) -> float:
        """Return the time to the first content of one stream, on a connection that has served a short one before."""
        side = self._sides[name]
        bodies = [self._bodies.make(side.model, max_tokens=tokens, stream=True) for tokens in (1, max_tokens)]
        answers = await self._send(side, side.urls()[0], bodies, 1)
        load.refuse_errors(name, answers)
        count_tokens(answers[1:], max_tokens)
        if answers[1].first is None:
            raise load.LoadFailed(f"{name}: a stream had no content: {answers[1].body[-300:]!r}")
        return (answers[1].first - answers[1].started) * 1e3

    async def _leg(self, name: Name, work: Work) -> Leg:
        side = self._sides[name]
        urls = side.urls()[: work.concurrency]
        shares = list(zip(urls, split(work.requests, len(urls)), split(work.concurrency, len(urls)), strict=True))
        batches = [
            [self._bodies.make(side.model, max_tokens=work.max_tokens, stream=work.stream) for _ in range(requests)]
            for _, requests, _ in shares
        ]
        used = sum(map(cpu.seconds, side.pids))
        if self._others:
            self._others.lap()
        own, clock = time.process_time(), time.perf_counter()
        parts = await asyncio.gather(
            *(
                self._send(side, url, bodies, concurrency)
                for (url, _, concurrency), bodies in zip(shares, batches, strict=True)
            )
        )
        busy = (time.process_time() - own) / (time.perf_counter() - clock)
        gateway_cpu_s = sum(map(cpu.seconds, side.pids)) - used if side.pids else None
        others = self._others.lap() if self._others else None
        answers = [answer for part in parts for answer in part]
        load.refuse_errors(f"{name}, {work}", answers)
        return leg_of(
            name,
            answers,
            work.max_tokens,
            gateway_cpu_s=gateway_cpu_s,
            client_busy=busy,
            others_busy=others,
        )

    async def _send(self, side: Side, url: str, bodies: Sequence[bytes], concurrency: int) -> list[Answer]:
        return await self._ask(
            url,
            bodies,
            requests=len(bodies),
            concurrency=concurrency,
            headers=side.headers,
            keep=True,
            timeout_s=TIMEOUT_S,
        )


def split(total: int, parts: int) -> list[int]:
    """Return `parts` whole numbers, as equal as can be, that add up to `total`."""
    return [total // parts + (index < total % parts) for index in range(parts)]
