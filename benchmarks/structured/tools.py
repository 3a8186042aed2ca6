"""Function calling with a real small model, alone and with a stronger one behind it: right calls, and their cost."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from benchmarks.structured import standin
from benchmarks.structured.ask import Kept, ask_all, key
from benchmarks.structured.bfcl import right
from benchmarks.structured.data import ToolTask
from benchmarks.structured.reply import Reply, broken
from benchmarks.structured.sides import sides

MAX_TOKENS = 160
CONCURRENCY = 8
STANDIN, LADDER = "stand-in", "small-first"
STANDIN_PRICE = {"input_usd_per_mtok": 0.40, "cached_input_usd_per_mtok": 0.10, "output_usd_per_mtok": 1.60}
"""the stand-in is charged as the API model would be in whose place it stands"""
MODES = ("auto", "pinned")
STANDIN_OF = 4
"""every fourth task is asked of the stand-in alone: it is slow, and only to compare with"""


def models_yaml(config: Mapping[str, Any], small: str, gguf: Path) -> dict[str, Any]:
    """Return a configuration in which the stand-in is behind the small model."""
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
    """Return the request; `pinned` asks for a call: of the one function that there is, or of any."""
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


async def measure(
    options: argparse.Namespace, tasks: Sequence[ToolTask], folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Ask every task in both modes, of the small model and of the ladder; return what came of it."""
    kept = Kept(options.out / "tools.answers.jsonl")
    config, small, ladder = options.config, options.model, options.ladder
    if options.fallback_gguf:
        gguf = standin.joined(options.fallback_gguf, say)
        given = yaml.safe_load(config.read_text(encoding="utf-8"))
        small, ladder = small or next(iter(given["models"])), LADDER
        config = folder / "tools.yaml"
        config.write_text(yaml.safe_dump(models_yaml(given, small, gguf), sort_keys=False), encoding="utf-8")
    found = {}
    async with sides(options, config, small, folder, say) as both:
        alone = STANDIN if options.fallback_gguf else None
        for model in filter(None, (both.model, ladder, alone)):
            for mode in MODES:
                # where no call is right, none can be asked for
                chosen = [task for task in tasks if mode == "auto" or task.expect_call]
                chosen = chosen[::STANDIN_OF] if model == alone else chosen
                bodies = {key(f"{model} {mode}", task.id, body(model, task, mode)): task for task in chosen}
                say(f"  {model}, {mode}: {len(chosen)} tasks")
                asked = {name: body(model, task, mode) for name, task in bodies.items()}
                replies = await ask_all(both.gateway, asked, kept, concurrency=CONCURRENCY, say=say)
                found[f"{model}, {mode}"] = figures(bodies, asked, replies, both.model)
    return {"model": both.model, "ladder": ladder, "max_tokens": MAX_TOKENS, "ways": found}


def figures(
    tasks: Mapping[str, ToolTask], asked: Mapping[str, Mapping[str, Any]], replies: Mapping[str, Reply], small: str
) -> dict[str, Any]:
    """Count well-formed and right calls, where none was right the answers without one, and what all of it cost."""
    outcomes = {name: reply.outcome(asked[name]) for name, reply in replies.items()}
    calls = {name: _calls(reply) for name, reply in replies.items()}
    wanting = [name for name in replies if tasks[name].expect_call]
    scored = [name for name in wanting if tasks[name].scored]
    others = [name for name in replies if not tasks[name].expect_call]
    served = [name for name in replies if not outcomes[name].startswith("error")]
    costs = [Decimal(cost) for reply in replies.values() if (cost := reply.said.get("cost-usd"))]
    return {
        "answers": len(replies),
        "outcomes": dict(Counter(outcomes.values()).most_common()),
        "structured": dict(Counter(reply.said.get("structured", "") for reply in replies.values()).most_common()),
        "well_formed": share(outcomes[name] == "valid" and bool(calls[name]) for name in scored),
        "right": share(outcomes[name] == "valid" and right(tasks[name], calls[name]) for name in wanting),
        "left_alone": share(outcomes[name] == "valid" and not calls[name] for name in others),
        "escalated": share(replies[name].said.get("model") != small for name in served),
        "cost_usd": float(sum(costs)),
        "answers_with_cost": len(costs),
    }


def share(values: Iterator[bool]) -> dict[str, int]:
    """Return how many of how many."""
    known = list(values)
    return {"yes": sum(known), "of": len(known)}


def _calls(reply: Reply) -> list[Mapping[str, Any]]:
    return (reply.choice["message"].get("tool_calls") or []) if reply.choice else []


def promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield what was promised and is not so."""
    yield from broken("tools", found["ways"])
