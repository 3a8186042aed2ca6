"""What was measured: samples of load, rounds of four samples, and pairs of single requests. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.common.load import Answer
from benchmarks.vllm.bodies import count_tokens, prompt_tokens
from benchmarks.vllm.targets import TargetName

ABBA: tuple[TargetName, ...] = ("direct", "gateway", "gateway", "direct")
BAAB: tuple[TargetName, ...] = ("gateway", "direct", "direct", "gateway")


@dataclass(frozen=True, slots=True)
class Workload:
    """The load of one sample: how many requests, how many of them at a time, and the tokens of each answer."""

    concurrency: int
    requests: int
    max_tokens: int
    stream: bool

    def __str__(self) -> str:
        return f"{self.concurrency} at a time, {'streamed' if self.stream else 'whole'}"


@dataclass(frozen=True, slots=True)
class Sample:
    """The outcome of one workload on one target."""

    target: TargetName
    seconds: float
    """from the start of the first request to the end of the last answer"""
    requests: int
    tokens: int
    """of all answers"""
    events: int
    """with content, of all streams"""
    prompt_tokens: int
    """of one prompt"""
    gateway_cpu_s: float | None
    """CPU time of the gateway's processes; None for the direct target, or if it cannot be read"""
    client_busy: float
    """the share of one core that the load client used; near 1, the client itself is the bottleneck"""
    others_busy: float | None
    """how many cores other programs used meanwhile; None: unknown"""
    first_ms: tuple[float, ...]
    """of each stream, from its request to its first content"""
    gap_ms: tuple[float, ...]
    """of each stream, the mean time between its tokens"""

    @property
    def tokens_per_s(self) -> float:
        """Return the output tokens per second of all requests together."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Round:
    """Four samples, two of each target, in an order that makes a steady drift of the machine cancel out."""

    workload: Workload
    samples: tuple[Sample, ...]

    def of(self, target: TargetName) -> list[Sample]:
        """Return the samples of one target."""
        return [sample for sample in self.samples if sample.target == target]


@dataclass(frozen=True, slots=True)
class Pair:
    """One request to each target, one right after the other: milliseconds to the first content."""

    first: TargetName
    direct_ms: float
    gateway_ms: float


def sample_of(
    target: TargetName,
    answers: Sequence[Answer],
    max_tokens: int,
    *,
    gateway_cpu_s: float | None,
    client_busy: float,
    others_busy: float | None,
) -> Sample:
    """Return the sample that these answers, all without errors, make up.

    Raises:
        WrongTokenCount: an answer does not have `max_tokens` tokens.
    """
    streams = [(answer, answer.first) for answer in answers if answer.first is not None]
    return Sample(
        target=target,
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


def by_workload(rounds: Sequence[Round]) -> list[list[Round]]:
    """Return the rounds grouped by their workload, in the order in which the workloads first came."""
    groups: dict[Workload, list[Round]] = {}
    for one in rounds:
        groups.setdefault(one.workload, []).append(one)
    return list(groups.values())


def speed(samples: Sequence[Sample]) -> float:
    """Return the output tokens per second of several samples together."""
    return sum(sample.tokens for sample in samples) / sum(sample.seconds for sample in samples)


def busiest_background(samples: Iterable[Sample]) -> float | None:
    """Return the cores that other programs used in the sample that they disturbed most; None: unknown."""
    return max((sample.others_busy for sample in samples if sample.others_busy is not None), default=None)


def ratio(rounds: Sequence[Round]) -> float:
    """Return the gateway's throughput as a share of the direct one."""
    gateway = speed([sample for one in rounds for sample in one.of("gateway")])
    return gateway / speed([sample for one in rounds for sample in one.of("direct")])


def direct_against_itself(rounds: Sequence[Round]) -> list[float]:
    """Return the second direct sample of each round as a share of the first: the noise of the machine alone."""
    return [second.tokens_per_s / first.tokens_per_s for first, second in (one.of("direct") for one in rounds)]


def added_ms(pairs: Sequence[Pair]) -> float:
    """Return the median of what the gateway adds to the time to the first token."""
    return statistics.median(pair.gateway_ms - pair.direct_ms for pair in pairs)


def repeated_ms(pairs: Sequence[Pair]) -> list[float]:
    """Return the differences of two successive requests to the same target: noise without any gateway.

    The order of the pairs alternates, so a pair begins with the target with which the pair before it ended.
    """
    found = []
    for before, after in itertools.pairwise(pairs):
        if after.first != before.first:
            found.append(_of(after, after.first) - _of(before, after.first))
    return found


def _of(pair: Pair, target: TargetName) -> float:
    return pair.direct_ms if target == "direct" else pair.gateway_ms
