"""`python -m benchmarks.vllm`: the same vLLM, asked directly and through the gateway, in turns."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

from benchmarks.vllm import machine, plot, report
from benchmarks.vllm.bodies import Bodies
from benchmarks.vllm.launch import launched, other_engines, workplace
from benchmarks.vllm.legs import Work
from benchmarks.vllm.measure import Bench
from benchmarks.vllm.options import parse
from benchmarks.vllm.program import run, say
from benchmarks.vllm.sides import Side, serving
from benchmarks.vllm.write import redraw, write

FIRST_TOKEN_TOKENS = 4  # of an answer whose first token alone is timed

SOCKET = (
    "The direct side asks vLLM over the Unix socket that the gateway asks it over, too. The gateway's client comes over"
    " TCP, as clients do: that this costs a little more than a socket counts against the gateway."
)
ATTACHED = "Both sides ran already: {gateway} in front of {direct}."
SAME = (
    "Both sides are the same vLLM process, get the same requests, and take turns. Answers are fixed at so many tokens"
    " (`ignore_eos`, temperature 0); every prompt begins with digits that never came before, so no side gains by"
    " vLLM's prefix cache. The number of tokens of every answer was checked."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its report; return the exit status."""
    options = parse(argv)
    if options.redraw:
        redraw(options.out, say, draw=plot.draw, markdown=report.markdown)
        return 0
    return run(measure(options))


async def measure(options: argparse.Namespace) -> None:
    """Measure and write the report."""
    about = machine.describe()
    async with _sides(options, about) as (direct, gateway):
        bench = Bench(direct, gateway, Bodies(options.prompt_words), say)
        works = [
            Work(concurrency, options.requests * concurrency, options.max_tokens, stream)
            for concurrency in options.concurrency
            for stream in (False, True)
        ]
        rounds = await bench.rounds(works, options.rounds)
        say("time to the first token")
        pairs = await bench.pairs(options.pairs, FIRST_TOKEN_TOKENS)
    names = ("rounds", "requests", "max_tokens", "concurrency", "prompt_words", "pairs", "quick")
    about |= {"model": direct.model, "parameters": {name: getattr(options, name) for name in names}}
    write(report.build(about, rounds, pairs), options.out, say, draw=plot.draw, markdown=report.markdown)


@contextlib.asynccontextmanager
async def _sides(options: argparse.Namespace, about: dict[str, Any]) -> AsyncIterator[tuple[Side, Side]]:
    """Yield both sides, of a gateway of our own or of one that runs; put into `about` how that was."""
    if options.url:
        model, roots = await serving([options.direct], options.model)
        key = os.environ.get("SMALLFIRST_KEY")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        about["setting"] = [ATTACHED.format(gateway=options.url, direct=options.direct), SAME]
        yield Side("direct", roots, model), Side("gateway", (options.url,), model, headers)
        return
    if others := other_engines():
        say(f"note: another vLLM runs on this machine (process {others[0]}) and will disturb the measurement")
    with workplace(say) as folder:
        say(f"starting smallfirst serve --config {options.config}")
        flags = (f"--max-in-flight={max(256, *options.concurrency)}",)  # its queue is not what is measured
        async with launched(options.config, folder / "gateway.log", say, flags=flags) as started:
            say(f"ready after {started.started_in_s:.0f} s")
            model, roots = await serving(started.engines, options.model)
            about["setting"] = [SOCKET, SAME, *(f"`{command}`" for command in started.commands)]
            gateway = Side("gateway", (started.root,), model, pids=started.pids, tree=started.tree)
            yield Side("direct", roots, model), gateway


if __name__ == "__main__":
    sys.exit(main())
