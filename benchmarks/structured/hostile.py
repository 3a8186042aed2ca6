"""A gateway in front of an upstream that answers wrongly in every known way: what reaches the client?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import yaml

from benchmarks.common.gateway import Start, running_gateway
from benchmarks.common.report import Say
from benchmarks.structured.judge import fault_of, strict
from benchmarks.structured.reply import NotUnderstood, Reply, read
from tests.support.behaviours import answer
from tests.support.hostile import QUESTION, Case, cases, play
from tests.support.upstream import Upstream

ENGINES: dict[str, dict[str, Any]] = {
    "openai": {"tier": "llm", "engine": "openai"},
    "vllm": {"tier": "slm", "engine": "vllm"},
    "guidance": {"tier": "slm", "engine": "vllm", "structured_backend": "guidance"},
}
"""a foreign API, a vLLM with unknown abilities, and one whose decoding enforces formats: its streams are not held"""
MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Variant:
    """How a case is asked."""

    engine: str
    streamed: bool
    prefix: bool = False
    """the client takes the stream as long as its beginning may still become valid"""

    def __str__(self) -> str:
        return f"{self.engine}, {'streamed' if self.streamed else 'whole'}{', prefix' if self.prefix else ''}"

    @property
    def is_checked_late(self) -> bool:
        """Return whether content may leave before all of it is checked."""
        return self.prefix or (self.streamed and self.engine == "guidance")

    def body(self, case: Case, model: str) -> dict[str, Any]:
        """Return the request."""
        routing = {"routing": {"stream_check": "prefix"}} if self.prefix else {}
        return case.body(model, streamed=self.streamed) | routing


VARIANTS = [Variant(engine, streamed) for engine in ENGINES for streamed in (False, True)]
VARIANTS.append(Variant("openai", streamed=True, prefix=True))


def models_yaml(upstream: Upstream) -> dict[str, Any]:
    """Return a configuration with one model for each engine, without fallbacks."""
    return {"models": {name: {**entry, "base_url": upstream.url(name)} for name, entry in ENGINES.items()}}


def verdict(case: Case, variant: Variant, reply: Reply) -> str:
    """Return the outcome of a case: `as it must be`, `refused` (an error instead of a valid answer), or what is wrong.

    Content that has left cannot be repaired any more, so an error is also correct for a stream that is checked late.
    """
    outcome = reply.outcome(case.asked)
    if outcome == "invalid":
        return f"invalid to the client: {fault_of(case.asked, reply.choice or {})}"
    if outcome.startswith("error"):
        may = case.fate in ("invalid", "broken") or (case.fate == "repairable" and variant.is_checked_late)
        clear = reply.error in ("structured_output_violation", "upstream_error")
        return "as it must be" if may and clear else f"refused: {outcome}"
    if case.fate in ("invalid", "broken") or (case.fate == "truncated") != (outcome == "truncated"):
        return f"{outcome}, but it was {case.fate}"
    return "as it must be" if _served(case, reply) else "not what was meant"


def _served(case: Case, reply: Reply) -> bool:
    """Return whether the client got exactly the values that the upstream meant."""
    message = (reply.choice or {})["message"]
    if calls := message.get("tool_calls"):
        return [(call["function"]["name"], strict(call["function"]["arguments"])) for call in calls] == case.expected
    content = message["content"]
    return bool(case.expected == (content if isinstance(case.expected, str) else strict(content)))


async def measure(count: int, folder: Path, say: Say) -> dict[str, Any]:
    """Ask every case in every variant; return the outcomes."""
    generated = cases(count)
    found: dict[Variant, Counter[str]] = {variant: Counter() for variant in VARIANTS}
    wrong: list[dict[str, str]] = []
    with Upstream() as upstream:
        config = folder / "hostile.yaml"
        config.write_text(yaml.safe_dump(models_yaml(upstream)), encoding="utf-8")
        start = Start(config, folder / "hostile.log")
        async with running_gateway(start, say) as gateway, aiohttp.ClientSession() as session:
            url = f"{gateway.root}/v1/chat/completions"
            began = perf_counter()
            for number, case in enumerate(generated):
                for variant in VARIANTS:
                    word = verdict(case, variant, await ask(session, url, upstream, case, variant))
                    found[variant][f"{case.fate}: {word.partition(':')[0]}"] += 1
                    if word != "as it must be":
                        wrong.append({"case": case.name, "way": str(variant), "what": word, "said": _shown(case)})
                if (number + 1) % 100 == 0:
                    say(f"  {number + 1} of {count} cases, {len(wrong)} not as they must be")
    return {
        "cases": len(generated),
        "kinds": len({case.name for case in generated}),
        "seconds": perf_counter() - began,
        "ways": {str(variant): dict(counter) for variant, counter in found.items()},
        "invalid_to_the_client": sum("invalid to" in one["what"] or "but it was" in one["what"] for one in wrong),
        "valid_refused": sum(one["what"].startswith("refused") for one in wrong),
        "not_what_was_meant": sum(one["what"] == "not what was meant" for one in wrong),
        "wrong": wrong[:MOST_SHOWN],
    }


async def ask(session: aiohttp.ClientSession, url: str, upstream: Upstream, case: Case, variant: Variant) -> Reply:
    """Ask one case in one variant."""
    upstream.site(variant.engine).always(play(case))
    try:
        async with session.post(url, json=variant.body(case, variant.engine)) as response:
            reply = read(response.status, response.headers, await response.read())
    except NotUnderstood as error:
        reply = Reply(0, error="not_understood", message=str(error))
    if case.fate == "broken":  # counts against the replica: a valid answer resets it before the breaker opens
        upstream.site(variant.engine).always(answer())
        async with session.post(url, json={"model": variant.engine, "messages": QUESTION}) as response:
            await response.read()
    return reply


def _shown(case: Case) -> str:
    return json.dumps(case.message, ensure_ascii=False)[:300]


def broken_promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield each broken promise."""
    if found["invalid_to_the_client"]:
        yield f"hostile: {found['invalid_to_the_client']} invalid answers reached the client"
    if found["valid_refused"] or found["not_what_was_meant"]:
        refused, changed = found["valid_refused"], found["not_what_was_meant"]
        yield f"hostile: {refused} valid answers refused and {changed} changed"
