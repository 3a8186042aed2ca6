"""What checking costs: whole answers by their length, streams by their events, plans that were made before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from time import process_time
from typing import Any

from benchmarks.structured.checker import planned
from benchmarks.structured.data import SchemaTask
from benchmarks.structured.requests import answered, call_for
from router.errors import StructuredOutputViolation
from router.structured.answer.check import check_choice
from router.structured.answer.stream_checker import StreamChecker
from router.structured.constraint import Constraint
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import ConstraintKind
from server.processes.gateway import freeze

MOST_US_PER_KB, MOST_US_PER_EVENT = 10.0, 5.0
LONG = 1_000
"""characters, from which on an answer's length decides on its cost"""
EVENT = 5  # characters, about a token
ROUNDS = 20
KEPT = 50
"""schemas, all of which the planner keeps"""


async def measure(tasks: Sequence[SchemaTask], say: Callable[[str], None]) -> dict[str, Any]:
    """Return microseconds of CPU: the least of several rounds over the same answers."""
    freeze()  # as the gateway does
    workers = GrammarWorkers()
    try:
        answers = await light_answers(ConstraintCompiler(workers), tasks)
        long = [(constraint, text) for constraint, text in answers if len(text) >= LONG]
        short = [(constraint, text) for constraint, text in answers if len(text) < LONG]
        say(f"  {len(long)} long answers and {len(short)} short ones, {ROUNDS} rounds")
        kilobytes = sum(len(text.encode()) for _, text in long) / 1e3
        streams = [(constraint, chunks(text)) for constraint, text in answers]
        events = sum(len(of) for _, of in streams)
        return {
            "long_answers": len(long),
            "judge_us_per_kb": _each(await _whole(long, workers), kilobytes),
            "short_answers": len(short),
            "judge_us_per_short": _each(await _whole(short, workers), len(short)),
            "events": events,
            "us_per_event": _each(_least(lambda: follow(streams)), events),
            "cached_plan_us": await _cached_plan(ConstraintCompiler(workers), tasks),
        }
    finally:
        await workers.close()


async def light_answers(planner: ConstraintCompiler, tasks: Sequence[SchemaTask]) -> list[tuple[Constraint, str]]:
    """Return the right instances of those schemas whose answers are judged in the gateway's own process."""
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
    """Check streams as they come, chunk by chunk, as those that flow at once are."""
    for constraint, chunks in streams:
        checker = StreamChecker(constraint, "check", _refused)
        for chunk in chunks:
            checker.feed(chunk)


def chunks(text: str) -> list[Mapping[str, Any]]:
    """Return a text as a stream brings it."""
    pieces = [text[at : at + EVENT] for at in range(0, len(text), EVENT)]
    return [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]


def _refused(kind: ConstraintKind, fault: str, choice: Mapping[str, Any]) -> StructuredOutputViolation:
    return StructuredOutputViolation(f"a right answer was refused as {kind}: {fault}")


async def _whole(answers: Sequence[tuple[Constraint, str]], workers: GrammarWorkers) -> float:
    choices = [(constraint, answered(text)) for constraint, text in answers]
    rounds = []
    for _ in range(ROUNDS):
        began = process_time()
        for constraint, choice in choices:
            await check_choice(constraint, choice, workers)
        rounds.append(process_time() - began)
    return min(rounds) * 1e6


async def _cached_plan(planner: ConstraintCompiler, tasks: Sequence[SchemaTask]) -> float | None:
    calls = [call_for(task.schema) for task in tasks[:KEPT] if await planned(planner, call_for(task.schema))]
    rounds = []
    for _ in range(ROUNDS):
        began = process_time()
        for call in calls:
            await planner.compile(call)
        rounds.append(process_time() - began)
    return _each(min(rounds) * 1e6, len(calls))


def _least(work: Callable[[], None]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began = process_time()
        work()
        rounds.append(process_time() - began)
    return min(rounds) * 1e6


def _each(total: float, count: float) -> float | None:
    return total / count if count else None


def promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield what was promised and is not so."""
    for name, most in (("judge_us_per_kb", MOST_US_PER_KB), ("us_per_event", MOST_US_PER_EVENT)):
        if (found[name] or 0) > most:
            yield f"speed: {name} is {found[name]:.1f}, at most {most:g} are allowed"
