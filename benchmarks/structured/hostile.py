"""A gateway in front of an upstream that answers wrongly in every way that is known: what reaches the client?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import yaml

from benchmarks.structured.judge import fault_of, strict
from benchmarks.structured.reply import NotUnderstood, Reply, read
from benchmarks.vllm.launch import launched
from tests.support.behaviours import answer
from tests.support.hostile import QUESTION, Case, cases, play
from tests.support.upstream import Upstream

ENGINES: dict[str, dict[str, Any]] = {
    "openai": {"tier": "llm", "engine": "openai"},
    "vllm": {"tier": "slm", "engine": "vllm"},
    "guidance": {"tier": "slm", "engine": "vllm", "structured_backend": "guidance"},
}
"""another's API, a vLLM of which nothing is known, and one whose decoding is said to hold (so its streams flow)"""
MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Way:
    """How a case is asked."""

    engine: str
    streamed: bool
    prefix: bool = False
    """the client wants the stream while its beginning may still become right"""

    def __str__(self) -> str:
        return f"{self.engine}, {'streamed' if self.streamed else 'whole'}{', prefix' if self.prefix else ''}"

    @property
    def flows(self) -> bool:
        """Return whether content may leave before all of it was checked."""
        return self.prefix or (self.streamed and self.engine == "guidance")

    def body(self, case: Case, model: str) -> dict[str, Any]:
        """Return the request."""
        routing = {"routing": {"stream_check": "prefix"}} if self.prefix else {}
        return case.body(model, streamed=self.streamed) | routing


WAYS = [Way(engine, streamed) for engine in ENGINES for streamed in (False, True)]
WAYS.append(Way("openai", streamed=True, prefix=True))


def models_yaml(upstream: Upstream) -> dict[str, Any]:
    """Return a configuration in which each engine is a model of its own, with nobody behind it."""
    return {"models": {name: {**entry, "base_url": upstream.url(name)} for name, entry in ENGINES.items()}}


def verdict(case: Case, way: Way, reply: Reply) -> str:
    """Return what became of a case: `as it must be`, `refused` (an error where it was right), or what is wrong.

    What flows to the client as it comes cannot be repaired any more: there an error is right, too.
    """
    outcome = reply.outcome(case.asked)
    if outcome == "invalid":
        return f"invalid to the client: {fault_of(case.asked, reply.choice or {})}"
    if outcome.startswith("error"):
        may = case.fate in ("invalid", "broken") or (case.fate == "repairable" and way.flows)
        clear = reply.error in ("structured_output_violation", "upstream_error")
        return "as it must be" if may and clear else f"refused: {outcome}"
    if case.fate in ("invalid", "broken") or (case.fate == "truncated") != (outcome == "truncated"):
        return f"{outcome}, but it was {case.fate}"
    return "as it must be" if _served(case, reply) else "not what was meant"


def _served(case: Case, reply: Reply) -> bool:
    """Return whether the client got what the upstream meant, value for value."""
    message = (reply.choice or {})["message"]
    if calls := message.get("tool_calls"):
        return [(call["function"]["name"], strict(call["function"]["arguments"])) for call in calls] == case.expected
    content = message["content"]
    return bool(case.expected == (content if isinstance(case.expected, str) else strict(content)))


async def measure(count: int, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Ask every case in every way; return what became of them."""
    generated = cases(count)
    found: dict[Way, Counter[str]] = {way: Counter() for way in WAYS}
    wrong: list[dict[str, str]] = []
    with Upstream() as upstream:
        config = folder / "hostile.yaml"
        config.write_text(yaml.safe_dump(models_yaml(upstream)), encoding="utf-8")
        async with launched(config, folder / "hostile.log", say) as gateway, aiohttp.ClientSession() as session:
            url = f"{gateway.root}/v1/chat/completions"
            began = perf_counter()
            for number, case in enumerate(generated):
                for way in WAYS:
                    word = verdict(case, way, await ask(session, url, upstream, case, way))
                    found[way][f"{case.fate}: {word.partition(':')[0]}"] += 1
                    if word != "as it must be":
                        wrong.append({"case": case.name, "way": str(way), "what": word, "said": _said(case)})
                if (number + 1) % 100 == 0:
                    say(f"  {number + 1} of {count} cases, {len(wrong)} not as they must be")
    return {
        "cases": len(generated),
        "kinds": len({case.name for case in generated}),
        "seconds": perf_counter() - began,
        "ways": {str(way): dict(counter) for way, counter in found.items()},
        "invalid_to_the_client": sum("invalid to" in one["what"] or "but it was" in one["what"] for one in wrong),
        "valid_refused": sum(one["what"].startswith("refused") for one in wrong),
        "not_what_was_meant": sum(one["what"] == "not what was meant" for one in wrong),
        "wrong": wrong[:MOST_SHOWN],
    }


async def ask(session: aiohttp.ClientSession, url: str, upstream: Upstream, case: Case, way: Way) -> Reply:
    """Ask one case in one way."""
    upstream.site(way.engine).always(play(case))
    try:
        async with session.post(url, json=way.body(case, way.engine)) as response:
            reply = read(response.status, response.headers, await response.read())
    except NotUnderstood as error:
        reply = Reply(0, error="not_understood", message=str(error))
    if case.fate == "broken":  # it speaks against the replica: a sound answer heals that before it rests
        upstream.site(way.engine).always(answer())
        async with session.post(url, json={"model": way.engine, "messages": QUESTION}) as response:
            await response.read()
    return reply


def _said(case: Case) -> str:
    return json.dumps(case.message, ensure_ascii=False)[:300]


def promises(found: dict[str, Any]) -> Iterator[str]:
    """Yield what was promised and is not so."""
    if found["invalid_to_the_client"]:
        yield f"hostile: {found['invalid_to_the_client']} invalid answers reached the client"
    if found["valid_refused"] or found["not_what_was_meant"]:
        refused, changed = found["valid_refused"], found["not_what_was_meant"]
        yield f"hostile: {refused} refused and {changed} changed, though right or certain"
