"""The official tests of JSON Schema, through the planner and the checker together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.structured.requests import answered, call_for
from router.errors import BadRequest
from router.structured.answer.check import check_choice
from router.structured.constraint import Constraint
from router.structured.request.compiler import ConstraintCompiler
from router.structured.workers.grammar_workers import GrammarWorkers

DRAFTS = {"draft2020-12": None, "draft7": "http://json-schema.org/draft-07/schema#"}
"""folder, and the `$schema` that its schemas leave out: without one, the draft is the newest"""
REMOTE = "localhost:1234"
"""where the suite's own server would hold documents"""
FORMAT = "format"
"""the file that holds that formats are only annotations; answers are checked for them"""
HOW_TO_GET = "--suite DIR is a clone of github.com/json-schema-org/JSON-Schema-Test-Suite"


class NoSuite(Exception):
    """The suite is not there; the message says how to get it."""


@dataclass(slots=True)
class Tally:
    """What became of one draft's required tests."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    remote: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


async def measure(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Run both drafts.

    Raises:
        NoSuite: the folder does not hold them.
    """
    tests = folder / "tests"
    if missing := [draft for draft in DRAFTS if not (tests / draft).is_dir()]:
        raise NoSuite(f"{tests / missing[0]} is not there; {HOW_TO_GET}")
    workers = GrammarWorkers()
    try:
        planner = ConstraintCompiler(workers)
        found = {}
        for draft, named in DRAFTS.items():
            tally = Tally()
            for file in sorted((tests / draft).glob("*.json")):
                for group in json.loads(file.read_text(encoding="utf-8")):
                    await _group(planner, workers, file.stem, group, named, tally)
            say(f"  {draft}: {dict(tally.counts)}")
            lists = {"wrong": tally.wrong, "refused": tally.refused, "remote": tally.remote}
            found[draft] = {"counts": dict(tally.counts), **lists}
        return found
    finally:
        await workers.close()


async def _group(
    planner: ConstraintCompiler,
    workers: GrammarWorkers,
    stem: str,
    group: dict[str, Any],
    named: str | None,
    tally: Tally,
) -> None:
    where = f"{stem}: {group['description']}"
    schema = as_object(group["schema"], named)
    try:
        constraint = await planner.compile(call_for(schema))
    except BadRequest as error:
        if REMOTE in json.dumps(schema):
            tally.counts["remote"] += len(group["tests"])
            tally.remote.append(where)
        else:
            tally.counts["refused"] += len(group["tests"])
            tally.refused.append(f"{where}: {error.message}")
        return
    assert isinstance(constraint, Constraint)
    for test in group["tests"]:
        verdict, _ = await check_choice(constraint, answered(json.dumps(test["data"], ensure_ascii=False)), workers)
        if (verdict.word == "valid") == test["valid"]:
            tally.counts["right"] += 1
        elif stem == FORMAT and test["valid"]:
            tally.counts["formats checked"] += 1
        else:
            tally.counts["wrong"] += 1
            tally.wrong.append(f"{where}: {test['description']}: {verdict.word}")


def as_object(schema: Any, named: str | None) -> dict[str, Any]:
    """Return a schema as an object that names its draft: `true` and `false` are short for two of them."""
    whole = {} if schema is True else {"not": {}} if schema is False else schema
    return whole if named is None or "$schema" in whole else {"$schema": named, **whole}


def promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield what was promised and is not so."""
    for draft, entry in found.items():
        if entry["wrong"] or entry["refused"]:
            yield f"suite: {draft}: {len(entry['wrong'])} wrong verdicts, {len(entry['refused'])} schemas refused"
