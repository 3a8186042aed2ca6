"""A real small model on a real vLLM: one answer for each real schema, directly and through the gateway."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common.gateway import Start, servers
from benchmarks.common.report import Say
from benchmarks.structured.client import AnswerStore, answer_key, ask_all
from benchmarks.structured.data import SchemaTask
from benchmarks.structured.judge import fault_of
from benchmarks.structured.reply import Reply, broken_promises_of
from benchmarks.structured.requests import response_format

CONCURRENCY = 16
MOST_SCHEMA_CHARS = 1_500
"""of a schema in the question, so that the context of 2,048 tokens also holds what the gateway adds and the answer"""
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
        "response_format": response_format(task.schema),
        "max_tokens": max_tokens,
        "temperature": 0,
    }
    return asked | ({"stream": True} if streamed else {})


async def measure(options: argparse.Namespace, tasks: Sequence[SchemaTask], folder: Path, say: Say) -> dict[str, Any]:
    """Ask for every schema directly and through the gateway, and for some as streams; return the outcomes."""
    store = AnswerStore(options.out / "model.answers.jsonl")
    found = {}
    start = Start(options.config, folder / "gateway.log")
    async with servers(options, start, options.model, say) as running:
        variants = (
            (DIRECT, running.engines[0], False, tasks),
            ("gateway", running.gateway, False, tasks),
            ("gateway, streamed", running.gateway, True, tasks[::STREAMED_OF]),
        )
        for variant, root, streamed, chosen in variants:
            say(f"  {variant}: {len(chosen)} schemas")
            asked = [(task.id, body(running.model, task, options.max_tokens, streamed=streamed)) for task in chosen]
            bodies = {answer_key(variant, task_id, one): one for task_id, one in asked}
            replies = await ask_all(root, bodies, store, concurrency=CONCURRENCY, say=say)
            found[variant] = figures(bodies, replies)
    return {"model": running.model, "max_tokens": options.max_tokens, "concurrency": CONCURRENCY, "ways": found}


def figures(bodies: Mapping[str, Mapping[str, Any]], replies: Mapping[str, Reply]) -> dict[str, Any]:
    """Count the outcomes of the requests, and how the gateway reached them."""
    outcomes = {name: reply.outcome(bodies[name]) for name, reply in replies.items()}
    invalid = {
        name: fault_of(bodies[name], reply.choice or {})
        for name, reply in replies.items()
        if outcomes[name] == "invalid"
    }
    return {
        "answers": len(replies),
        "outcomes": dict(Counter(outcomes.values()).most_common()),
        "structured": dict(Counter(reply.metadata.get("structured", "") for reply in replies.values()).most_common()),
        "invalid": [f"{name}: {fault}" for name, fault in invalid.items()][:MOST_SHOWN],
    }


def broken_promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield each broken promise."""
    through = {variant: entry for variant, entry in found["ways"].items() if variant != DIRECT}
    yield from broken_promises_of("model", through)
