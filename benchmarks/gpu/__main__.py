"""`python -m benchmarks.gpu`: the whole product on one NVIDIA GPU."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from benchmarks.common import machine
from benchmarks.common.command import run_or_redraw, say
from benchmarks.common.gateway import warn_of_other_engines
from benchmarks.common.processes import scratch_folder
from benchmarks.common.report import Renderer, write
from benchmarks.gpu import figures, plot, report, sweep
from benchmarks.gpu.architecture import SIZES, SOURCE, parameters
from benchmarks.gpu.device import Gpu, NoGpu, find
from benchmarks.gpu.layout import DoesNotFit, ServedModel, check_fits, models_yaml, prepare, variants
from benchmarks.gpu.money import H100_HOUR_USD, PRICE_SOURCE
from benchmarks.gpu.options import parse
from router.engine.gpu import visible_gpus

LEFT_OUT = ("model", "dummy", "out", "redraw", "gpu_hour_usd", "start_limit")
RENDERER = Renderer(report.markdown, plot.draw)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and write its report; return the exit status, 2 if it cannot run here."""
    return run_or_redraw(parse(argv), measure, RENDERER, cannot_run=(NoGpu, DoesNotFit))


async def measure(options: argparse.Namespace) -> None:
    """Measure every layout and write the report after each, so that it is kept if the next one fails.

    Raises:
        NoGpu: there is no such GPU here.
        DoesNotFit: a layout has no room on the GPU.
    """
    gpu = find(visible_gpus(os.environ), options.gpu) if options.device == "gpu" else None
    if gpu:
        check_fits(options, gpu.memory_gib)
    about = machine.describe_for_vllm()
    warn_of_other_engines(say)
    with scratch_folder(say) as folder:
        served = prepare(options, folder)
        texts = {one: models_yaml(served, options, one, gpu.memory_gib if gpu else None) for one in variants(options)}
        found = []
        for variant, text in texts.items():
            say(f"{name(served, options)}, {variant}")
            layout = await sweep.measure(text, variant, options, folder, say)
            found.append(figures.of_layout(layout, served.source, options.gpu_hour_usd))
            whole = about | facts(served, options, gpu) | {"layouts": found, "comparison": figures.compare(found)}
            write(whole, options.out, RENDERER, say)


def facts(served: ServedModel, options: argparse.Namespace, gpu: Gpu | None) -> dict[str, Any]:
    """Return what was run, and at which price, for the report."""
    source = PRICE_SOURCE if options.gpu_hour_usd == H100_HOUR_USD else "as given with --gpu-hour-usd"
    if source == PRICE_SOURCE and not (gpu and "H100" in gpu.name):
        source += "; what was measured here is no H100"
    return {
        "benchmark": "gpu",
        "dummy": served.dummy,
        "tiny": options.tiny,
        "model": name(served, options),
        "source": SOURCE.format(name=SIZES[options.size][0]) if served.dummy and not options.tiny else "made up",
        "config": served.config,
        "parameters_of_model": parameters(served.config) if served.config else None,
        "gpu": asdict(gpu) if gpu else None,
        "options": {key: value for key, value in vars(options).items() if key not in LEFT_OUT},
        "gpu_hour_usd": options.gpu_hour_usd,
        "price_source": source,
    }


def name(served: ServedModel, options: argparse.Namespace) -> str:
    """Return the name of the model for people."""
    if not served.dummy:
        return str(options.model)
    return "a model of two tiny layers" if options.tiny else f"{SIZES[options.size][0]}'s architecture"


if __name__ == "__main__":
    sys.exit(main())
