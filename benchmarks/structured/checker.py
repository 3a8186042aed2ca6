"""The checker alone: does it agree with jsonschema-rs, how long do its plans take, and do they block the event loop?"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any, get_args

from benchmarks.common.report import Say
from benchmarks.common.stats import percentile
from benchmarks.structured.data import SchemaTask
from benchmarks.structured.loop_lag import TICK_S, measured_lag
from benchmarks.structured.requests import call_for, choice_of, grammar_workers, planned
from router.errors import BadRequest
from router.structured.answer.check import check_choice
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers
from router.types import Backend
from server.processes.gateway import tune_garbage_collector

MOST_LAG_MS = 10.0
IDLE_S = 1.0


async def measure(tasks: Sequence[SchemaTask], say: Say) -> dict[str, Any]:
    """Plan every schema, judge every instance, ask every backend; return the figures."""
    tune_garbage_collector()  # as the gateway does
    async with grammar_workers() as workers:
        say(f"  planning {len(tasks)} schemas, one after the other")
        planner = ConstraintCompiler(workers)
        first, again, lag_in_turn, refused = await plan_all(planner, tasks)
        say("  all at once")
        calls, empty = [call_for(task.schema) for task in tasks], ConstraintCompiler(workers)
        async with measured_lag() as together:
            await asyncio.gather(*(planned(empty, call) for call in calls))
        async with measured_lag() as idle:
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


async def plan_all(
    planner: ConstraintCompiler, tasks: Sequence[SchemaTask]
) -> tuple[list[float], list[float], dict[str, float], list[str]]:
    """Return the milliseconds of the first and the second plan of each schema, the loop's lag, and refused schemas.

    The second plan follows the first immediately, because the planner does not keep all schemas.
    """
    first, again, refused = [], [], []
    async with measured_lag() as lag:
        for task in tasks:
            call = call_for(task.schema)
            await asyncio.sleep(2 * TICK_S)  # so that only this plan is measured
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
    """Return the instances on which the checker and jsonschema-rs disagree."""
    found = []
    for task in tasks:
        constraint = await planned(planner, call_for(task.schema))
        for place, instance in enumerate(task.instances):
            if instance.valid is None:
                continue
            if constraint is None:
                found.append(f"{task.id}, instance {place}: its schema was refused")
                continue
            verdict, _ = await check_choice(constraint, choice_of(instance.text), workers)
            if (verdict.word == "valid") != instance.valid:
                found.append(f"{task.id}, instance {place}: {verdict.word} {verdict.path} {verdict.message}")
    return found


async def enforced(workers: GrammarWorkers, backend: Backend, tasks: Sequence[SchemaTask]) -> dict[str, Any]:
    """Return how many schemas a backend enforces completely, partly or not, and the milliseconds to find out."""
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
    """Return the median, the 99th percentile and the maximum."""
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "max": max(values)}


def broken_promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield each broken promise."""
    if wrong := found["disagreements"]:
        yield f"checker: {len(wrong)} verdicts that are not those of jsonschema-rs"
    if (most := found["lag"]["in_turn"]["own_max_ms"]) > MOST_LAG_MS:
        yield f"checker: a plan blocked the loop for {most:.1f} ms; the limit is {MOST_LAG_MS:g}"
