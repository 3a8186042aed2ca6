"""The official test suite of JSON Schema, run through the planner and the checker."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common.report import Say
from benchmarks.structured.requests import call_for, choice_of, grammar_workers
from router.errors import BadRequest
from router.structured.answer.check import check_choice
from router.structured.constraint import Constraint
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers

DRAFTS = {"draft2020-12": None, "draft7": "http://json-schema.org/draft-07/schema#"}
"""folder -> the `$schema` to add to its schemas; without one, a schema is of the newest draft"""
REMOTE = "localhost:1234"
"""the suite's own server for remote documents"""
FORMAT = "format"
"""the file whose tests expect that formats are not checked; the gateway checks them"""
HOW_TO_GET = "--suite DIR is a clone of github.com/json-schema-org/JSON-Schema-Test-Suite"


class NoSuite(Exception):
    """The suite is missing; the message says how to get it."""


@dataclass(slots=True)
class DraftResult:
    """The outcomes of one draft's required tests."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    remote: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


async def measure(folder: Path, say: Say) -> dict[str, Any]:
    """Run both drafts.

    Raises:
        NoSuite: the folder does not have them.
    """
    tests = folder / "tests"
    if missing := [draft for draft in DRAFTS if not (tests / draft).is_dir()]:
        raise NoSuite(f"{tests / missing[0]} is not there; {HOW_TO_GET}")
    async with grammar_workers() as workers:
        planner = ConstraintCompiler(workers)
        found = {}
        for draft, named in DRAFTS.items():
            result = DraftResult()
            for file in sorted((tests / draft).glob("*.json")):
                for group in json.loads(file.read_text(encoding="utf-8")):
                    await _group(planner, workers, file.stem, group, named, result)
            say(f"  {draft}: {dict(result.counts)}")
            lists = {"wrong": result.wrong, "refused": result.refused, "remote": result.remote}
            found[draft] = {"counts": dict(result.counts), **lists}
        return found


async def _group(
    planner: ConstraintCompiler,
    workers: GrammarWorkers,
    stem: str,
    group: dict[str, Any],
    named: str | None,
    result: DraftResult,
) -> None:
    where = f"{stem}: {group['description']}"
    schema = as_object(group["schema"], named)
    try:
        constraint = await planner.compile(call_for(schema))
    except BadRequest as error:
        if REMOTE in json.dumps(schema):
            result.counts["remote"] += len(group["tests"])
            result.remote.append(where)
        else:
            result.counts["refused"] += len(group["tests"])
            result.refused.append(f"{where}: {error.message}")
        return
    assert isinstance(constraint, Constraint)
    for test in group["tests"]:
        verdict, _ = await check_choice(constraint, choice_of(json.dumps(test["data"], ensure_ascii=False)), workers)
        if (verdict.word == "valid") == test["valid"]:
            result.counts["right"] += 1
        elif stem == FORMAT and test["valid"]:
            result.counts["formats checked"] += 1
        else:
            result.counts["wrong"] += 1
            result.wrong.append(f"{where}: {test['description']}: {verdict.word}")


def as_object(schema: Any, named: str | None) -> dict[str, Any]:
    """Return a schema as an object with its `$schema`; `true` and `false` become the objects that they stand for."""
    whole = {} if schema is True else {"not": {}} if schema is False else schema
    return whole if named is None or "$schema" in whole else {"$schema": named, **whole}


def broken_promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield each broken promise."""
    for draft, entry in found.items():
        if entry["wrong"] or entry["refused"]:
            yield f"suite: {draft}: {len(entry['wrong'])} wrong verdicts, {len(entry['refused'])} schemas refused"
