"""What checking costs: whole answers by their length, streams by their events, and plans that were made before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from time import process_time
from typing import Any

from benchmarks.common.report import Say
from benchmarks.structured.data import SchemaTask
from benchmarks.structured.requests import call_for, choice_of, grammar_workers, planned
from router.errors import StructuredOutputViolation
from router.structured.answer.check import check_choice
from router.structured.answer.stream_checker import StreamChecker
from router.structured.constraint import Constraint
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import ConstraintKind
from server.processes.gateway import tune_garbage_collector

MOST_US_PER_KB, MOST_US_PER_EVENT = 10.0, 5.0
LONG = 1_000
"""characters from which on an answer counts as long: its cost then depends on its length"""
EVENT = 5  # characters, about a token
ROUNDS = 20
CACHED_SCHEMAS = 50
"""few enough for the planner to keep all of them"""


async def measure(tasks: Sequence[SchemaTask], say: Say) -> dict[str, Any]:
    """Return CPU microseconds: the least of several rounds over the same answers."""
    tune_garbage_collector()  # as the gateway does
    async with grammar_workers() as workers:
        answers = await in_process_answers(ConstraintCompiler(workers), tasks)
        long = [(constraint, text) for constraint, text in answers if len(text) >= LONG]
        short = [(constraint, text) for constraint, text in answers if len(text) < LONG]
        say(f"  {len(long)} long answers and {len(short)} short ones, {ROUNDS} rounds")
        kilobytes = sum(len(text.encode()) for _, text in long) / 1e3
        streams = [(constraint, chunks(text)) for constraint, text in answers]
        events = sum(len(of) for _, of in streams)

        async def follow_all() -> None:
            follow(streams)

        return {
            "long_answers": len(long),
            "judge_us_per_kb": _each(await _judge_us(long, workers), kilobytes),
            "short_answers": len(short),
            "judge_us_per_short": _each(await _judge_us(short, workers), len(short)),
            "events": events,
            "us_per_event": _each(await _least_us(follow_all), events),
            "cached_plan_us": await _cached_plan_us(ConstraintCompiler(workers), tasks),
        }


async def in_process_answers(planner: ConstraintCompiler, tasks: Sequence[SchemaTask]) -> list[tuple[Constraint, str]]:
    """Return the valid instances of the schemas whose answers the gateway judges in its own process."""
    found = []
    for task in tasks:
        constraint = await planned(planner, call_for(task.schema))
        if (
            constraint
            and constraint.output_format
            and constraint.output_format.schema
            and constraint.output_format.schema.validator
        ):
            found += [(constraint, instance.text) for instance in task.instances if instance.valid]
    return found


def follow(streams: Sequence[tuple[Constraint, Sequence[Mapping[str, Any]]]]) -> None:
    """Check streams chunk by chunk, as the gateway does if it does not hold them."""
    for constraint, chunks in streams:
        checker = StreamChecker(constraint, "check", _refused)
        for chunk in chunks:
            checker.feed(chunk)


def chunks(text: str) -> list[Mapping[str, Any]]:
    """Return the chunks of a stream with this text."""
    pieces = [text[at : at + EVENT] for at in range(0, len(text), EVENT)]
    return [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]


def _refused(kind: ConstraintKind, fault: str, choice: Mapping[str, Any], endless: bool) -> StructuredOutputViolation:
    return StructuredOutputViolation(f"a valid answer was refused as {kind}: {fault}")


async def _judge_us(answers: Sequence[tuple[Constraint, str]], workers: GrammarWorkers) -> float:
    choices = [(constraint, choice_of(text)) for constraint, text in answers]

    async def judge_all() -> None:
        for constraint, choice in choices:
            await check_choice(constraint, choice, workers)

    return await _least_us(judge_all)


async def _cached_plan_us(planner: ConstraintCompiler, tasks: Sequence[SchemaTask]) -> float | None:
    calls = [call_for(task.schema) for task in tasks[:CACHED_SCHEMAS] if await planned(planner, call_for(task.schema))]

    async def plan_all() -> None:
        for call in calls:
            await planner.compile(call)

    return _each(await _least_us(plan_all), len(calls))


async def _least_us(work: Callable[[], Awaitable[None]]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began = process_time()
        await work()
        rounds.append(process_time() - began)
    return min(rounds) * 1e6


def _each(total: float, count: float) -> float | None:
    return total / count if count else None


def broken_promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield each broken promise."""
    for name, most in (("judge_us_per_kb", MOST_US_PER_KB), ("us_per_event", MOST_US_PER_EVENT)):
        if (found[name] or 0) > most:
            yield f"speed: {name} is {found[name]:.1f}; the limit is {most:g}"
