"""`python -m benchmarks.gpu`: the whole product on one NVIDIA GPU."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.gpu import figures, plot, report, sweep
from benchmarks.gpu.architecture import SOURCE, parameters
from benchmarks.gpu.device import Gpu, NoGpu, find
from benchmarks.gpu.layout import DoesNotFit, Served, check_fits, models_yaml, prepare
from benchmarks.gpu.money import H100_HOUR_USD, PRICE_SOURCE
from benchmarks.gpu.options import parse
from benchmarks.vllm import machine
from benchmarks.vllm.launch import other_engines, workplace
from benchmarks.vllm.program import run, say
from benchmarks.vllm.write import redraw, write
from router.engine.gpu import visible_gpus

LEFT_OUT = ("model", "dummy", "out", "redraw", "gpu_hour_usd", "start_limit")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its report; return the exit status, 2 where it cannot be run here."""
    options = parse(argv)
    if options.redraw:
        redraw(options.out, say, draw=plot.draw, markdown=report.markdown)
        return 0
    try:
        gpu = find(visible_gpus(os.environ), options.gpu) if options.device == "gpu" else None
        if gpu:
            check_fits(options, gpu.memory_gib)
        return run(measure(options, gpu))
    except (NoGpu, DoesNotFit) as error:
        print(error, file=sys.stderr)
        return 2


async def measure(options: argparse.Namespace, gpu: Gpu | None) -> None:
    """Measure every layout and write the report."""
    about = machine.describe()
    if others := other_engines():
        say(f"note: another vLLM runs on this machine (process {others[0]}) and will disturb the measurement")
    with workplace(say) as folder:
        served = prepare(options, folder)
        texts = {one: models_yaml(served, options, one, gpu.memory_gib if gpu else None) for one in options.replicas}
        found = []
        for replicas, text in texts.items():
            say(f"starting smallfirst serve with {replicas} x {name(served, options)}")
            layout = await sweep.measure(text, replicas, options, folder, say)
            found.append(figures.of_layout(layout, served.source, options.gpu_hour_usd))
            # after each: should the next not start, this one is not lost
            whole = about | facts(served, options, gpu) | {"layouts": found, "comparison": figures.compare(found)}
            write(whole, options.out, say, draw=plot.draw, markdown=report.markdown)


def facts(served: Served, options: argparse.Namespace, gpu: Gpu | None) -> dict[str, Any]:
    """Return what was run, and at which price, for the report."""
    source = PRICE_SOURCE if options.gpu_hour_usd == H100_HOUR_USD else "as given with --gpu-hour-usd"
    if source == PRICE_SOURCE and not (gpu and "H100" in gpu.name):
        source += "; what was measured here is no H100"
    return {
        "benchmark": "gpu",
        "dummy": served.dummy,
        "tiny": options.tiny,
        "model": name(served, options),
        "source": SOURCE if served.dummy and not options.tiny else "made up",
        "config": served.config,
        "parameters_of_model": parameters(served.config) if served.config else None,
        "gpu": asdict(gpu) if gpu else None,
        "options": {key: value for key, value in vars(options).items() if key not in LEFT_OUT},
        "gpu_hour_usd": options.gpu_hour_usd,
        "price_source": source,
    }


def name(served: Served, options: argparse.Namespace) -> str:
    """Return what to call the model."""
    if not served.dummy:
        return str(options.model)
    return "a model of two tiny layers" if options.tiny else "Qwen3-8B's architecture"


if __name__ == "__main__":
    sys.exit(main())
