"""The checker alone: does it check_choice as jsonschema-rs does, and how long do its plans take and hold the loop?"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, get_args

from benchmarks.structured.data import SchemaTask
from benchmarks.structured.lag import TICK_S, measured
from benchmarks.structured.requests import answered, call_for
from benchmarks.vllm.stats import percentile
from router.errors import BadRequest
from router.structured.answer.check import check_choice
from router.structured.constraint import Constraint
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import Backend, ChatCall
from server.processes.gateway import freeze

MOST_LAG_MS = 10.0
IDLE_S = 1.0


async def measure(tasks: Sequence[SchemaTask], say: Callable[[str], None]) -> dict[str, Any]:
    """Plan every schema, check_choice every instance, ask every backend; return the figures."""
    freeze()  # as the gateway does
    workers = GrammarWorkers()
    try:
        say(f"  planning {len(tasks)} schemas, one after the other")
        planner = ConstraintCompiler(workers)
        first, again, lag_in_turn, refused = await plan_all(planner, tasks)
        say("  all at a time")
        calls, empty = [call_for(task.schema) for task in tasks], ConstraintCompiler(workers)
        async with measured() as together:
            await asyncio.gather(*(planned(empty, call) for call in calls))
        async with measured() as idle:
            await asyncio.sleep(IDLE_S)
        say("  judging their instances")
        disagreements = await judge_all(planner, workers, tasks)
        say("  asking what the backends enforce")
        return {
            "schemas": len(tasks),
            "instances": sum(instance.valid is not None for task in tasks for instance in task.instances),
            "without_verdict": sum(instance.valid is None for task in tasks for instance in task.instances),
            "refused": refused,
            "disagreements": disagreements,
            "plan_ms": spread(first),
            "cached_plan_ms": spread(again),
            "lag": {"in_turn": lag_in_turn, "together": together.figures(), "idle": idle.figures()},
            "enforced": {backend: await enforced(workers, backend, tasks) for backend in get_args(Backend)},
        }
    finally:
        await workers.close()


async def plan_all(
    planner: ConstraintCompiler, tasks: Sequence[SchemaTask]
) -> tuple[list[float], list[float], dict[str, float], list[str]]:
    """Return how long plans took (ms) the first time and the second, how they held up the loop, and what was refused.

    The second is made at once after the first: not all schemas are kept.
    """
    first, again, refused = [], [], []
    async with measured() as lag:
        for task in tasks:
            call = call_for(task.schema)
            await asyncio.sleep(2 * TICK_S)  # neither the call's making nor another's plan counts
            began = perf_counter()
            try:
                await planner.compile(call)
            except BadRequest as error:
                refused.append(f"{task.id}: {error.message}")
                continue
            first.append((perf_counter() - began) * 1e3)
            await asyncio.sleep(2 * TICK_S)
            began = perf_counter()
            await planner.compile(call)
            again.append((perf_counter() - began) * 1e3)
    return first, again, lag.figures(), refused


async def judge_all(planner: ConstraintCompiler, workers: GrammarWorkers, tasks: Sequence[SchemaTask]) -> list[str]:
    """Return the instances on which the checker and jsonschema-rs do not agree."""
    found = []
    for task in tasks:
        constraint = await planned(planner, call_for(task.schema))
        for place, instance in enumerate(task.instances):
            if instance.valid is None:
                continue
            if constraint is None:
                found.append(f"{task.id}, instance {place}: its schema was refused")
                continue
            verdict, _ = await check_choice(constraint, answered(instance.text), workers)
            if (verdict.word == "valid") != instance.valid:
                found.append(f"{task.id}, instance {place}: {verdict.word} {verdict.path} {verdict.message}")
    return found


async def enforced(workers: GrammarWorkers, backend: Backend, tasks: Sequence[SchemaTask]) -> dict[str, Any]:
    """Return how many schemas a backend enforces wholly, in part or not, and how long it took to find out (ms)."""
    planner = ConstraintCompiler(workers)
    words: Counter[str] = Counter()
    took = []
    for task in tasks:
        constraint = await planned(planner, call_for(task.schema))
        if constraint is None or constraint.output_format is None or constraint.output_format.schema is None:
            continue
        began = perf_counter()
        words[
            (await workers.grammar_support(backend, "json_schema", constraint.output_format.schema.text)).enforcement
        ] += 1
        took.append((perf_counter() - began) * 1e3)
    return {"words": dict(words), "ms": spread(took)}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, 99th percentile and largest."""
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}


async def planned(planner: ConstraintCompiler, call: ChatCall) -> Constraint | None:
    """Return what a call's answer must satisfy; None: its schema is refused."""
    try:
        return await planner.compile(call)
    except BadRequest:
        return None


def promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield what was promised and is not so."""
    if wrong := found["disagreements"]:
        yield f"checker: {len(wrong)} verdicts that are not those of jsonschema-rs"
    if (most := found["lag"]["in_turn"]["own_max_ms"]) > MOST_LAG_MS:
        yield f"checker: a plan held the loop for {most:.1f} ms, at most {MOST_LAG_MS:g} are allowed"
