"""A real small model on a real vLLM, asked for one answer to each of the real schemas: directly and by the gateway."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.structured.ask import Kept, ask_all, key
from benchmarks.structured.data import SchemaTask
from benchmarks.structured.judge import fault_of
from benchmarks.structured.reply import Reply, broken
from benchmarks.structured.requests import as_format
from benchmarks.structured.sides import sides

CONCURRENCY = 16
MOST_SCHEMA_CHARS = 1_500
"""of a schema in the question: the context of 2,048 tokens has to hold it, what the gateway adds, and the answer"""
STREAMED_OF = 4
MOST_SHOWN = 20
DIRECT = "direct"


def body(model: str, task: SchemaTask, max_tokens: int, *, streamed: bool) -> dict[str, Any]:
    """Return the request for one answer."""
    written = json.dumps(task.schema, ensure_ascii=False)
    shown = written if len(written) <= MOST_SCHEMA_CHARS else written[:MOST_SCHEMA_CHARS] + " ..."
    question = f"Give one example of a JSON document that satisfies this JSON schema:\n{shown}"
    asked = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "response_format": as_format(task.schema),
        "max_tokens": max_tokens,
        "temperature": 0,
    }
    return asked | ({"stream": True} if streamed else {})


async def measure(
    options: argparse.Namespace, tasks: Sequence[SchemaTask], folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Ask for every schema directly, through the gateway, and some as streams; return what came of it."""
    kept = Kept(options.out / "model.answers.jsonl")
    found = {}
    async with sides(options, options.config, options.model, folder, say) as both:
        ways = (
            (DIRECT, both.direct, False, tasks),
            ("gateway", both.gateway, False, tasks),
            ("gateway, streamed", both.gateway, True, tasks[::STREAMED_OF]),
        )
        for way, root, streamed, chosen in ways:
            say(f"  {way}: {len(chosen)} schemas")
            asked = [(task.id, body(both.model, task, options.max_tokens, streamed=streamed)) for task in chosen]
            bodies = {key(way, task_id, one): one for task_id, one in asked}
            replies = await ask_all(root, bodies, kept, concurrency=CONCURRENCY, say=say)
            found[way] = figures(bodies, replies)
    return {"model": both.model, "max_tokens": options.max_tokens, "concurrency": CONCURRENCY, "ways": found}


def figures(bodies: Mapping[str, Mapping[str, Any]], replies: Mapping[str, Reply]) -> dict[str, Any]:
    """Count what became of the requests, and by which means."""
    outcomes = {name: reply.outcome(bodies[name]) for name, reply in replies.items()}
    invalid = {
        name: fault_of(bodies[name], reply.choice or {})
        for name, reply in replies.items()
        if outcomes[name] == "invalid"
    }
    return {
        "answers": len(replies),
        "outcomes": dict(Counter(outcomes.values()).most_common()),
        "structured": dict(Counter(reply.said.get("structured", "") for reply in replies.values()).most_common()),
        "invalid": [f"{name}: {fault}" for name, fault in invalid.items()][:MOST_SHOWN],
    }


def promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield what was promised and is not so."""
    through = {way: entry for way, entry in found["ways"].items() if way != DIRECT}
    yield from broken("model", through)
