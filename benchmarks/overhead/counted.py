"""Runs in a checkout under valgrind, for `benchmarks.overhead.instructions`: asks its gateway, in this process.

Everything that it uses is the checkout's own, and as old as that: it must not need what later revisions have added.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.overhead.inprocess import InProcessGateway, SocketlessLoop
from benchmarks.overhead.measure import KEY
from benchmarks.overhead.scenarios import SCENARIOS, Scenario
from server.observability import logs

WARM_UP = 60
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
            "required": ["city"],
        },
    },
}


@dataclass(frozen=True, slots=True)
class _WithTool(Scenario):
    def _body(self, number: int) -> bytes:
        return _changed(Scenario._body(self, number), lambda body: body | {"tools": [TOOL]})


@dataclass(frozen=True, slots=True)
class _WithHistory(Scenario):
    def _body(self, number: int) -> bytes:
        def add(body: dict[str, Any]) -> dict[str, Any]:
            system, user = body["messages"]
            return body | {
                "messages": [system, *[user, {"role": "assistant", "content": "Paris is the capital."}] * 3, user]
            }

        return _changed(Scenario._body(self, number), add)


def _changed(body: bytes, change: Any) -> bytes:
    return json.dumps(change(json.loads(body)), separators=(",", ":")).encode()


CASES = {
    "whole": SCENARIOS["whole-c1"],
    "stream64": SCENARIOS["stream64-c1"],
    "json": SCENARIOS["json-c1"],
    "json64": SCENARIOS["json64-c1"],
    "tools": _WithTool("tools", "whole", 1, 1),
    "tools64": _WithTool("tools64", "stream64", 1, 1),
    "history": _WithHistory("history", "whole", 1, 1),
}


async def _run(names: list[str], count: int, folder: Path) -> None:
    for name in names:
        gateway = InProcessGateway(CASES[name], folder)
        await gateway.check()
        for _ in range(WARM_UP):
            await gateway.client.ask()
        gc.collect()
        gc.disable()  # when it runs depends on all that was allocated before
        os.getppid()  # valgrind writes its counts here: see `instructions.MARK`
        for _ in range(count):
            await gateway.client.ask()
        os.getppid()
        gc.enable()
        await gateway.close()


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory(prefix="counted-") as state,
        Path(os.devnull).open("w") as nowhere,
        asyncio.Runner(loop_factory=SocketlessLoop) as runner,
    ):
        logs.configure([KEY], nowhere)
        runner.run(_run(sys.argv[2:], int(sys.argv[1]), Path(state)))
