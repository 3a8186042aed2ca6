"""The gateway that is asked, and the vLLM behind it: started for the measurement, or running already."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.vllm.launch import launched, other_engines
from benchmarks.vllm.sides import serving


@dataclass(frozen=True, slots=True)
class Sides:
    """Roots of servers, as `http://host:port` or `unix:/path`; `model` is the small one's name on both."""

    gateway: str
    direct: str
    model: str


@contextlib.asynccontextmanager
async def sides(
    options: argparse.Namespace, config: Path, model: str | None, folder: Path, say: Callable[[str], None]
) -> AsyncIterator[Sides]:
    """Yield the gateway and the vLLM that serves the model, by default the first one."""
    if options.url:
        name, (direct, *_) = await serving([options.direct], model)
        yield Sides(options.url, direct, name)
        return
    if others := other_engines():
        say(f"  note: another vLLM runs on this machine (process {others[0]})")
    say(f"  starting smallfirst serve --config {config.name}")
    async with launched(config, folder / "gateway.log", say) as started:
        say(f"  ready after {started.started_in_s:.0f} s")
        name, (direct, *_) = await serving(started.engines, model)
        yield Sides(started.root, direct, name)
