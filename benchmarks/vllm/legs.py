"""What was measured: legs of load, rounds of four legs, pairs of single requests; and what they say. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.load import Answer
from benchmarks.vllm.bodies import count_tokens, prompt_tokens
from benchmarks.vllm.sides import Name

ABBA: tuple[Name, ...] = ("direct", "gateway", "gateway", "direct")
BAAB: tuple[Name, ...] = ("gateway", "direct", "direct", "gateway")


@dataclass(frozen=True, slots=True)
class Work:
    """The load of one leg: so many requests, so many at a time, each for so many tokens."""

    concurrency: int
    requests: int
    max_tokens: int
    stream: bool

    def __str__(self) -> str:
        return f"{self.concurrency} at a time, {'streamed' if self.stream else 'whole'}"


@dataclass(frozen=True, slots=True)
class Leg:
    """One leg's outcome on one side."""

    side: Name
    seconds: float
    """from the first request's start to the last answer's end"""
    requests: int
    tokens: int
    """of all answers"""
    events: int
    """with content, of all streams"""
    prompt_tokens: int
    """of one prompt"""
    gateway_cpu_s: float | None
    """of the gateway's processes; None on the direct side, or where it cannot be read"""
    client_busy: float
    """the share of one core that the load client took; near 1 it is the client that is measured"""
    others_busy: float | None
    """how many cores other programs took meanwhile; None where that is not known"""
    first_ms: tuple[float, ...]
    """of each stream, from its request to its first content"""
    gap_ms: tuple[float, ...]
    """of each stream, the mean time between its tokens"""

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second, of all requests together."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Round:
    """Four legs, two a side, in an order that a steady drift of the machine does not favour."""

    work: Work
    legs: tuple[Leg, ...]

    def of(self, side: Name) -> list[Leg]:
        """Return the legs of one side."""
        return [leg for leg in self.legs if leg.side == side]


@dataclass(frozen=True, slots=True)
class Pair:
    """One request to each side, one right after the other: milliseconds to the first content."""

    first: Name
    direct_ms: float
    gateway_ms: float


def leg_of(
    side: Name,
    answers: Sequence[Answer],
    max_tokens: int,
    *,
    gateway_cpu_s: float | None,
    client_busy: float,
    others_busy: float | None,
) -> Leg:
    """Return what the answers of one leg, all without errors, come to.

    Raises:
        UnequalWork: one has another number of tokens than `max_tokens`.
    """
    streams = [(answer, answer.first) for answer in answers if answer.first is not None]
    return Leg(
        side=side,
        seconds=max(answer.ended for answer in answers) - min(answer.started for answer in answers),
        requests=len(answers),
        tokens=count_tokens(answers, max_tokens),
        events=sum(answer.events for answer in answers),
        prompt_tokens=prompt_tokens(answers[0]),
        gateway_cpu_s=gateway_cpu_s,
        client_busy=client_busy,
        others_busy=others_busy,
        first_ms=tuple((first - answer.started) * 1e3 for answer, first in streams),
        gap_ms=tuple((answer.ended - first) * 1e3 / (max_tokens - 1) for answer, first in streams if max_tokens > 1),
    )


def speed(legs: Sequence[Leg]) -> float:
    """Return the output tokens a second of several legs together."""
    return sum(leg.tokens for leg in legs) / sum(leg.seconds for leg in legs)


def most_others(legs: Iterable[Leg]) -> float | None:
    """Return the cores that other programs took on average, in the leg that they disturbed most; None: not known."""
    return max((leg.others_busy for leg in legs if leg.others_busy is not None), default=None)


def ratio(rounds: Sequence[Round]) -> float:
    """Return the gateway's throughput as a share of the direct one."""
    gateway = speed([leg for one in rounds for leg in one.of("gateway")])
    return gateway / speed([leg for one in rounds for leg in one.of("direct")])


def itself(rounds: Sequence[Round]) -> list[float]:
    """Return, of each round, the direct side's second leg as a share of its first: what the machine alone does."""
    return [second.tokens_per_s / first.tokens_per_s for first, second in (one.of("direct") for one in rounds)]


def added_ms(pairs: Sequence[Pair]) -> float:
    """Return the median of what the gateway adds to the time to the first token."""
    return statistics.median(pair.gateway_ms - pair.direct_ms for pair in pairs)


def repeated_ms(pairs: Sequence[Pair]) -> list[float]:
    """Return differences of two requests in a row to the same side, second less first: what no gateway explains.

    As the order alternates, a pair begins with the side with which the one before it ended.
    """
    found = []
    for before, after in itertools.pairwise(pairs):
        if after.first != before.first:
            found.append(_of(after, after.first) - _of(before, after.first))
    return found


def _of(pair: Pair, side: Name) -> float:
    return pair.direct_ms if side == "direct" else pair.gateway_ms
