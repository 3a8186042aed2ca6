"""Function calling with a real small model, alone and with a stronger one as fallback: right calls, and their cost."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common.gateway import Start, servers
from benchmarks.common.report import Say
from benchmarks.structured import standin
from benchmarks.structured.bfcl import is_right
from benchmarks.structured.client import AnswerStore, answer_key, ask_all
from benchmarks.structured.data import ToolTask
from benchmarks.structured.reply import Reply, broken_promises_of

MAX_TOKENS = 160
CONCURRENCY = 8
STANDIN, LADDER = "stand-in", "small-first"
STANDIN_PRICE = {"input_usd_per_mtok": 0.40, "cached_input_usd_per_mtok": 0.10, "output_usd_per_mtok": 1.60}
"""the price of the API model that the stand-in replaces"""
MODES = ("auto", "pinned")
STANDIN_OF = 4
"""only every fourth task is asked of the stand-in alone, because it is slow and only for comparison"""


def models_yaml(config: Mapping[str, Any], small: str, gguf: Path) -> dict[str, Any]:
    """Return a configuration with the stand-in as the fallback of the small model."""
    entry = config["models"][small]
    behind = {
        "tier": "llm",
        "engine": "vllm",
        "source": str(gguf.absolute()),
        "context": 4096,
        "vllm_args": {"enable_auto_tool_choice": True, "tool_call_parser": "hermes"},
        "price": STANDIN_PRICE,
        "timeouts": {"first_byte_s": 600, "idle_s": 600, "total_s": 900},
    }
    return {"models": {small: entry, STANDIN: behind}, "routes": {LADDER: {"ladder": [small, STANDIN]}}}


def body(model: str, task: ToolTask, mode: str) -> dict[str, Any]:
    """Return the request; the mode `pinned` requires a call: of the only function, or of any."""
    choice: Any = "auto"
    if mode == "pinned":
        names = [tool["function"]["name"] for tool in task.tools]
        choice = {"type": "function", "function": {"name": names[0]}} if len(names) == 1 else "required"
    return {
        "model": model,
        "messages": task.messages,
        "tools": task.tools,
        "tool_choice": choice,
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
    }


async def measure(options: argparse.Namespace, tasks: Sequence[ToolTask], folder: Path, say: Say) -> dict[str, Any]:
    """Ask every task in both modes of the small model and of the ladder; return the outcomes."""
    store = AnswerStore(options.out / "tools.answers.jsonl")
    config, small, ladder = options.config, options.model, options.ladder
    if options.fallback_gguf:
        gguf = standin.joined(options.fallback_gguf, say)
        given = yaml.safe_load(config.read_text(encoding="utf-8"))
        small, ladder = small or next(iter(given["models"])), LADDER
        config = folder / "tools.yaml"
        config.write_text(yaml.safe_dump(models_yaml(given, small, gguf), sort_keys=False), encoding="utf-8")
    found = {}
    async with servers(options, Start(config, folder / "gateway.log"), small, say) as running:
        alone = STANDIN if options.fallback_gguf else None
        for model in filter(None, (running.model, ladder, alone)):
            for mode in MODES:
                # a call cannot be required if none is right
                chosen = [task for task in tasks if mode == "auto" or task.expect_call]
                chosen = chosen[::STANDIN_OF] if model == alone else chosen
                bodies = {answer_key(f"{model} {mode}", task.id, body(model, task, mode)): task for task in chosen}
                say(f"  {model}, {mode}: {len(chosen)} tasks")
                asked = {name: body(model, task, mode) for name, task in bodies.items()}
                replies = await ask_all(running.gateway, asked, store, concurrency=CONCURRENCY, say=say)
                found[f"{model}, {mode}"] = figures(bodies, asked, replies, running.model)
    return {"model": running.model, "ladder": ladder, "max_tokens": MAX_TOKENS, "ways": found}


def figures(
    tasks: Mapping[str, ToolTask], asked: Mapping[str, Mapping[str, Any]], replies: Mapping[str, Reply], small: str
) -> dict[str, Any]:
    """Count well-formed and right calls, and answers without a call if none is right; sum up the cost."""
    outcomes = {name: reply.outcome(asked[name]) for name, reply in replies.items()}
    calls = {name: _calls(reply) for name, reply in replies.items()}
    wanting = [name for name in replies if tasks[name].expect_call]
    scored = [name for name in wanting if tasks[name].scored]
    others = [name for name in replies if not tasks[name].expect_call]
    served = [name for name in replies if not outcomes[name].startswith("error")]
    costs = [Decimal(cost) for reply in replies.values() if (cost := reply.metadata.get("cost-usd"))]
    return {
        "answers": len(replies),
        "outcomes": dict(Counter(outcomes.values()).most_common()),
        "structured": dict(Counter(reply.metadata.get("structured", "") for reply in replies.values()).most_common()),
        "well_formed": share(outcomes[name] == "valid" and bool(calls[name]) for name in scored),
        "right": share(outcomes[name] == "valid" and is_right(tasks[name], calls[name]) for name in wanting),
        "left_alone": share(outcomes[name] == "valid" and not calls[name] for name in others),
        "escalated": share(replies[name].metadata.get("model") != small for name in served),
        "cost_usd": float(sum(costs)),
        "answers_with_cost": len(costs),
    }


def share(values: Iterator[bool]) -> dict[str, int]:
    """Return how many of the values are true, and how many there are."""
    known = list(values)
    return {"yes": sum(known), "of": len(known)}


def _calls(reply: Reply) -> list[Mapping[str, Any]]:
    return (reply.choice["message"].get("tool_calls") or []) if reply.choice else []


def broken_promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield each broken promise."""
    yield from broken_promises_of("tools", found["ways"])
